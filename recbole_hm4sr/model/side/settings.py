"""Settings of DIF-SR and NOVA; the defaults are DIF-SR's on Amazon Beauty."""

from typing import Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Dropout, Layers, Many, Weight, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


class SideSettings(TransformerSettings, PackedTraining):
    """Settings of an encoder that attends by attributes of the items."""

    hidden_size: Count = setting(256, "D, width of the item vectors; a multiple of n_heads.")
    n_layers: Layers = setting(4, "Transformer blocks.")
    n_heads: Count = setting(8, "Attention heads.")
    attn_dropout_prob: Dropout = setting(0.3, "Dropout of attention weights.")
    attributes: Many[str] = setting(
        [],
        "What is known of the items: columns of the .item file, token or token_seq, and names of "
        "modalities; [] for the column that category_field names.",
    )
    fusion: Literal["gate", "sum", "concat"] = setting(
        "gate", "How the streams of items, positions and attributes become one."
    )
    attribute_pooling: Literal["sum", "mean"] = setting(
        "sum",
        "What an item with several values of an attribute has: the sum of their vectors, or "
        "their mean.",
    )
    attribute_weights: Many[Weight] = setting(
        [10],
        "Weight of the loss that foretells the target's values, one for all attributes or one "
        "each; 0 leaves it out. A modality has no values and no such loss.",
    )
    train_attributes: bool = setting(
        True,
        "Whether the attributes' vectors are trained from N(0, initializer_range); false keeps "
        "random ones of N(0, 1), as the authors' code does without saying so.",
    )

    @pydantic.field_validator("attribute_weights")
    @classmethod
    def _each_attribute_has_a_weight(
        cls, value: tuple[float, ...], info: pydantic.ValidationInfo
    ) -> tuple[float, ...]:
        require_one_each("attribute_weights", value, info.data.get("attributes", ()))
        return value


class NOVASettings(SideSettings):
    """Settings of NOVA: none of its own, an attribute's vectors are as wide as an item's."""


class DIFSRSettings(SideSettings):
    """Settings of DIF-SR."""

    attribute_sizes: Many[Count] = setting(
        [64],
        "Width of the attributes' vectors, one for all or one each; multiples of n_heads.",
    )

    @pydantic.field_validator("attribute_sizes")
    @classmethod
    def _heads_divide_the_widths(
        cls, value: tuple[int, ...], info: pydantic.ValidationInfo
    ) -> tuple[int, ...]:
        require_one_each("attribute_sizes", value, info.data.get("attributes", ()))
        n_heads = info.data.get("n_heads", 1)
        if any(size % n_heads for size in value):
            raise ValueError(
                f"attribute_sizes must be multiples of n_heads ({n_heads}), got {list(value)}"
            )
        return value


def require_one_each(name: str, value: tuple[float, ...], attributes: tuple[str, ...]) -> None:
    """Refuse a list that has neither one entry nor one for each attribute.

    Args:
        name: Of the setting.
        value: Its value.
        attributes: The attributes; none for the one of ``category_field``.

    Raises:
        ValueError: If it has another number of entries.
    """
    n_attributes = max(1, len(attributes))
    if len(value) not in (1, n_attributes):
        raise ValueError(
            f"{name} must have one entry, or one for each of {n_attributes} attributes, got "
            f"{list(value)}"
        )
