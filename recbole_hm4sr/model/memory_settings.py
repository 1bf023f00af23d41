"""Settings of a memory of events, which packed models and ItemKNN share."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Many, Positive, Weight, setting
from recbole_hm4sr.config.settings import Settings
from recbole_hm4sr.model.refresh import MemoryRefreshes, check_refreshes, refresh_labels


class MemorySettings(Settings):
    """What a memory reads, as of when, and how it weighs what it finds."""

    request_time: Literal["last", "target"] = setting(
        "last",
        "The moment of a request: the time of the newest interaction, or of the one to be "
        "predicted, which in serving is now.",
    )
    memory_refresh: MemoryRefreshes = setting(
        "none",
        "Up to when the memory may look in an evaluation: until the training part ends, the last "
        "snapshot before the request, or the request; where the training part ends at no one "
        "moment, none is request. With several, one training is measured under each, the first "
        "one's best epoch is the run's, and each other has its own.",
    )
    memory_reach: Annotated[int, pydantic.Field(ge=1, le=255)] = setting(
        10, "K, interactions between two that still make an event; so many last items are read."
    )
    memory_decay: Positive = setting(
        0.6, "q, what an item one interaction further back counts beside the newer one."
    )
    memory_damping: Weight = setting(
        0.3, "beta, how much frequent items are damped: a score is divided by their count^beta."
    )
    memory_ages: Many[Positive] = setting(
        [30, 180], "Bounds of the ages of events, in days, rising; each age is a relation."
    )
    memory_events: Count = setting(400, "Latest events of an item, direction and kind that count.")
    memory_neighbours: Count = setting(
        100, "Nearest items by a modality's features that are a relation of the memory."
    )
    snapshot_days: Positive = setting(
        7, "Days between two snapshots, at which items and popularity are counted."
    )

    @staticmethod
    def reads_moment(settings: Mapping[str, Any]) -> bool:
        """Whether scores depend on the moment of the request.

        Args:
            settings: All settings of a run.
        """
        raise NotImplementedError

    @classmethod
    def view_labels(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What a table adds to the model's name for each way in which it is measured.

        Args:
            settings: All settings of a run.

        Returns:
            By the name of the view; empty where there is one.
        """
        several = settings.get("memory_refresh", "none")
        return refresh_labels(several) if cls.reads_moment(settings) else {}

    @pydantic.field_validator("memory_refresh")
    @classmethod
    def _refreshes_differ(cls, value: MemoryRefreshes) -> MemoryRefreshes:
        return check_refreshes(value)

    @pydantic.field_validator("memory_ages")
    @classmethod
    def _ages_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= age for age, later in itertools.pairwise(value)):
            raise ValueError(f"memory_ages must rise, got {list(value)}")
        return value
