"""Settings of PixelRec's item head; the defaults are the authors'."""

from typing import ClassVar, Literal

from recbole_hm4sr.config.fields import Count, Dropout, Positive, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


class PixelRecSettings(TransformerSettings, PackedTraining):
    """Settings of PixelRec besides those of its encoder and its training."""

    new_items: ClassVar[Literal["features"]] = "features"

    train_mode: Literal["prefix", "sequence"] = setting(
        "prefix",
        "prefix trains on RecBole's samples, as the authors do; sequence trains many positions of "
        "a history in one pass, which with position_from: newest is another loss.",
    )
    hidden_size: Count = setting(256, "D, width of an item's vector; a multiple of n_heads.")
    inner_size: Count = setting(1024, "Width inside the feed-forward layers.")
    use_ids: bool = setting(True, "Whether an item has a vector of its own beside its content.")
    content: Literal["pooled", "tokens"] = setting(
        "pooled",
        "pooled projects each modality's vector, and sums; tokens lets learned queries choose "
        "among an item's modalities, and projects what they chose.",
    )
    n_queries: Count = setting(4, "Q, queries that read an item's tokens; with content: tokens.")
    query_size: Count = setting(256, "Width of queries and keys; with content: tokens.")
    content_dropout_prob: Dropout = setting(0.1, "Dropout inside the item head.")
    temperature: Positive = setting(0.07, "Temperature of the cosine of a user and an item.")
    position_from: Literal["newest", "oldest"] = setting(
        "newest", "The end of a history that positions are counted from."
    )
