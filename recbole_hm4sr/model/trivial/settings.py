"""Settings of the models that are fitted once."""

from typing import Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Positive, Share, Weight, Whole, setting
from recbole_hm4sr.config.settings import Settings


class PopularSettings(Settings):
    """Popular has no settings of its own."""


class RecentPopularSettings(Settings):
    """Settings of RecentPopular."""

    recent_days: Positive = setting(
        28.0, "Days up to the newest interaction of the training part that are counted."
    )


class RepeatLastSettings(Settings):
    """RepeatLast has no settings of its own."""


class ItemKNNSettings(Settings):
    """Settings of ItemKNN."""

    counts: Literal["all", "as_of"] = setting(
        "all",
        "Which pairs of items are counted: all of the training part; as_of, those known at the "
        "moment of the request, is not built yet.",
    )
    memory_reach: Count = setting(
        10, "Two interactions of a user that lie at most so many apart are a pair; as many of the "
        "newest items of a history are read.",
    )  # fmt: skip
    memory_decay: Share = setting(
        0.6, "Factor of an item of the history for each interaction that came after it."
    )
    memory_damping: Weight = setting(
        0.3, "Exponent by which the frequency of both items of a pair is divided out."
    )
    memory_neighbours: Whole = setting(
        100, "Nearest items by features whose cosine is added, for each modality; 0 for none."
    )

    @pydantic.field_validator("counts")
    @classmethod
    def _counts_are_built(cls, value: str) -> str:
        if value == "as_of":
            raise ValueError(
                "counts must be all: as_of needs the memory of events, which this release does not "
                "have yet, got 'as_of'"
            )
        return value


class EASESettings(Settings):
    """Settings of EASE."""

    l2_weight: Positive = setting(250.0, "Added to the diagonal of the matrix of common users.")
    served_weights: Count = setting(
        200,
        "Weights of each item, the largest in absolute value, that the model keeps; what that "
        "costs on the validation part is in metrics.json.",
    )
