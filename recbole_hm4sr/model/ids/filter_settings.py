"""Settings that models with a filter over the window share."""

from typing import Literal

import pydantic

from recbole_hm4sr.config.fields import setting
from recbole_hm4sr.model.packed_settings import PackedTraining


class FilterTraining(PackedTraining):
    """How a model with a filter over the positions of a window is trained."""

    train_mode: Literal["prefix", "sequence"] = setting(
        "prefix",
        "prefix trains on RecBole's samples, a prefix of a history each; sequence, which needs "
        "filter: causal, trains many positions of a history in one pass.",
    )
    filter: Literal["circular", "causal"] = setting(
        "circular",
        "circular is the paper's filter, in which all but the newest item of a window read later "
        "ones; causal, another model, leaves those out.",
    )

    @pydantic.field_validator("filter")
    @classmethod
    def _sequences_need_a_causal_filter(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value == "circular" and info.data.get("train_mode") == "sequence":
            raise ValueError(
                "train_mode must be prefix with filter: circular, since a position would read its "
                "own target, got 'sequence'"
            )
        return value
