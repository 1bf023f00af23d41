"""Settings of IISAN; the defaults are the authors'."""

import itertools
from typing import Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Many, Whole, setting
from recbole_hm4sr.model.text.lab_settings import LabSettings, refuse_unfit_loss


class IISANSettings(LabSettings):
    """Settings of IISAN besides those of its encoder and its training."""

    side_layers: Many[Whole] = setting(
        [],
        "Numbers of the stored layers that are read, from 0, rising; [] for all that there are.",
    )
    adapter_size: Count = setting(64, "Width inside the adapters.")
    adapter_act: Literal["relu", "gelu"] = setting("relu", "Activation of the adapters.")
    remove_first: bool = setting(
        False,
        "Whether the first layer is where the towers begin, in place of one that their adapters "
        "read.",
    )
    loss: Literal["in_batch", "ce"] = setting(  # type: ignore[assignment]  # losses of its own
        "in_batch",
        "What a target is set against: the items of the batch, corrected for their popularity, or "
        "all items, whose vectors are then made anew in every step.",
    )

    @pydantic.field_validator("side_layers")
    @classmethod
    def _layers_rise(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= layer for layer, later in itertools.pairwise(value)):
            raise ValueError(f"side_layers must rise, got {list(value)}")
        return value

    @pydantic.field_validator("loss")
    @classmethod
    def _negatives_are_drawn(cls, value: str, info: pydantic.ValidationInfo) -> str:
        refuse_unfit_loss(value, info.data)
        return value
