"""Settings of UniSRec; the defaults are the authors'."""

from typing import ClassVar, Literal

from recbole_hm4sr.config.fields import Count, Dropout, Positive, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


class UniSRecSettings(TransformerSettings, PackedTraining):
    """Settings of UniSRec besides those of its encoder and its training."""

    new_items: ClassVar[Literal["features"]] = "features"

    hidden_size: Count = setting(300, "D, width of an item's vector; a multiple of n_heads.")
    use_ids: bool = setting(
        True, "Whether an item has a vector of its own beside its features (transductive)."
    )
    n_experts: Count = setting(8, "K, experts of each modality's adaptor.")
    adaptor_dropout_prob: Dropout = setting(0.2, "Dropout of the features that experts read.")
    adaptor_dropout: Literal["shared", "per_expert"] = setting(
        "shared",
        "Whether all experts of an adaptor drop the same features, in one product, or each others, "
        "as in the authors' code.",
    )
    gate_noise: bool = setting(
        True, "Whether the experts' weights are noisy in training, as in the authors' code."
    )
    temperature: Positive = setting(0.07, "Temperature of the cosine of a user and an item.")
