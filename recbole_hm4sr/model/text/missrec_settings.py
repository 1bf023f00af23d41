"""Settings of MISSRec; the defaults are the authors' where their code works as it says."""

from typing import Annotated, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Layers, Positive, Weight, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings
from recbole_hm4sr.model.text.prefix_only import require_prefixes


class MISSRecSettings(TransformerSettings, PackedTraining):
    """Settings of MISSRec besides those of its layers and its training."""

    new_items: ClassVar[Literal["features"]] = "features"

    train_mode: Literal["prefix", "sequence"] = setting(
        "prefix",
        "prefix trains on RecBole's samples, a prefix of a history each; the one that fits.",
    )
    hidden_size: Count = setting(300, "D, width of an item's vectors; a multiple of n_heads.")
    n_layers: Layers = setting(
        2, "Layers: the first half for the interests of a history, the second for its items; even."
    )
    n_heads: Count = setting(4, "Attention heads.")
    use_ids: bool = setting(True, "Whether an item has a vector of its own beside its features.")
    seq_fusion: Literal["add", "stack"] = setting(
        "add", "Whether an item is one token, the sum of its modalities, or one token of each."
    )
    item_fusion: Literal["static", "shared", "per_item"] = setting(
        "shared",
        "How the cosines of a candidate's modalities are weighed: alike, or by their own "
        "size times a learned number, one for all items or one for each; static alone is an inner "
        "product.",
    )
    temperature: Positive = setting(0.07, "Temperature of the cosines of a user and an item.")
    interest_ratio: Annotated[float, pydantic.Field(gt=0, le=1)] = setting(
        0.1,
        "Interests for each vector of an item and modality: clusters that are found before an "
        "epoch; the authors' 0.5 makes as many interests as items.",
    )
    interest_every: Count = setting(1, "Epochs between two clusterings.")
    regulariser: Literal["mean", "official"] = setting(
        "mean",
        "What is kept small of the interests' outputs: the square of their mean, a number between "
        "0 and about 1 for each history, or the sum over the batch, padding included, that the "
        "authors' code takes.",
    )
    interest_weight: Weight = setting(
        5,
        "Weight of the regulariser; the authors' strength is 1e-4 with official, which is about 5 "
        "with mean at their batch of 512.",
    )

    @pydantic.field_validator("train_mode")
    @classmethod
    def _histories_are_seen_whole(cls, value: str) -> str:
        return require_prefixes(value, "MISSRec", "its attention is bidirectional")

    @pydantic.field_validator("n_layers")
    @classmethod
    def _layers_have_two_halves(cls, value: int) -> int:
        if not value or value % 2:
            raise ValueError(f"n_layers of MISSRec must be even, at least 2, got {value}")
        return value

    @pydantic.field_validator("item_fusion")
    @classmethod
    def _a_memory_adds_to_products(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value != "static" and info.data.get("memory") == "events":
            raise ValueError(
                f"item_fusion must be static with memory: events, which adds to inner products, "
                f"got {value!r}"
            )
        return value
