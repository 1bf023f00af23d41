"""Settings of TedRec; the defaults are the authors'."""

from typing import Any, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Dropout, Positive, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings
from recbole_hm4sr.model.text.prefix_only import require_prefixes


class TedRecSettings(TransformerSettings, PackedTraining):
    """Settings of TedRec besides those of its encoder and its training."""

    why_no_new_items: ClassVar[str] = (
        "a candidate is its id alone: features are read of the items of a history"
    )

    train_mode: Literal["prefix", "sequence"] = setting(
        "prefix",
        "prefix trains on RecBole's samples, a prefix of a history each; sequence, which trains "
        "many positions in one pass, needs causal_filter: true.",
    )
    hidden_size: Count = setting(300, "D, width of an item's vector; a multiple of n_heads.")
    n_experts: Count = setting(8, "K, experts of each modality's adaptor.")
    adaptor_dropout_prob: Dropout = setting(0.2, "Dropout of the features that experts read.")
    gate_noise: bool = setting(
        True, "Whether the experts' weights are noisy in training, as in the authors' code."
    )
    temperature: Positive = setting(0.07, "Temperature of the cosine of a user and an item.")
    causal_filter: bool = setting(
        False,
        "Whether the convolutions see earlier items alone: another model than the paper's, and the "
        "one that can be trained on whole histories.",
    )

    @pydantic.field_validator("causal_filter")
    @classmethod
    def _only_a_causal_filter_trains_sequences(
        cls, value: Any, info: pydantic.ValidationInfo
    ) -> Any:
        if not value:
            why = "its convolutions wrap around the window (causal_filter: false)"
            require_prefixes(info.data.get("train_mode", "prefix"), "TedRec", why)
        return value
