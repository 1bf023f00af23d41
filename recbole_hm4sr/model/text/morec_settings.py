"""Settings of MoRec; the defaults are the authors' for text."""

from typing import Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Whole, setting
from recbole_hm4sr.model.text.lab_settings import LabSettings, refuse_unfit_loss


class MoRecSettings(LabSettings):
    """Settings of MoRec besides those of its encoder and its training."""

    hidden_size: Count = setting(512, "D, width of an item's vector; a multiple of n_heads.")
    n_projections: Whole = setting(
        8, "r, maps of width D after the one that reads the features, each with a gelu."
    )
    id_fusion: Literal["none", "add", "cat"] = setting(
        "none",
        "How an item's own vector joins what is made of its features: not at all, by a sum, or "
        "side by side before one map more.",
    )
    n_fusion_maps: Whole = setting(0, "q, maps of width D after ids and features have joined.")
    last_activation: bool = setting(
        True, "Whether the last map has a gelu too, as in the authors' code."
    )
    negatives_from: Literal["unseen", "all"] = setting(
        "unseen",
        "Whether the negative of a target is drawn from the items that its user has in no training "
        "row, or from all; with loss: bce.",
    )
    loss: Literal["bce", "in_batch", "ce"] = setting(  # type: ignore[assignment]  # losses of its own
        "bce",
        "What a target is set against: one drawn item, the items of the batch, corrected for their "
        "popularity, or all items.",
    )

    @pydantic.field_validator("n_fusion_maps")
    @classmethod
    def _maps_follow_a_fusion(cls, value: int, info: pydantic.ValidationInfo) -> int:
        if value and info.data.get("id_fusion") == "none":
            raise ValueError(f"n_fusion_maps must be 0 with id_fusion: none, got {value}")
        return value

    @pydantic.field_validator("loss")
    @classmethod
    def _negatives_are_drawn(cls, value: str, info: pydantic.ValidationInfo) -> str:
        refuse_unfit_loss(value, info.data)
        return value
