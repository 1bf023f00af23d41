"""Settings of the models that are fitted once."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from recbole_hm4sr.config.fields import Count, Positive, Share, Whole, setting
from recbole_hm4sr.config.settings import Settings
from recbole_hm4sr.model.memory_settings import MemorySettings


class FittedSettings(Settings):
    """Settings of a model that is fitted once: an item without interactions has a score of 0."""

    new_items: ClassVar[Literal["fit"]] = "fit"


class PopularSettings(FittedSettings):
    """Popular has no settings of its own."""


class RecentPopularSettings(FittedSettings):
    """Settings of RecentPopular."""

    recent_days: Positive = setting(
        28.0, "Days up to the newest interaction of the training part that are counted."
    )


class RepeatLastSettings(FittedSettings):
    """RepeatLast has no settings of its own."""


class ItemKNNSettings(MemorySettings, FittedSettings):
    """Settings of ItemKNN; those of the memory's moment are read with ``counts: as_of`` alone."""

    popularity: ClassVar[bool] = False
    memory_weights: ClassVar[Literal["equal"]] = "equal"

    counts: Literal["all", "as_of"] = setting(
        "all",
        "Which pairs of items are counted: all of the training part, or as_of, those known at the "
        "moment of the request.",
    )
    memory_decay: Share = setting(
        0.6, "Factor of an item of the history for each interaction that came after it."
    )
    memory_neighbours: Whole = setting(
        100, "Nearest items by features whose cosine is added, for each modality; 0 for none."
    )

    @staticmethod
    def reads_moment(settings: Mapping[str, Any]) -> bool:
        """Whether scores depend on the moment of the request.

        Args:
            settings: All settings of a run.
        """
        return settings.get("counts") == "as_of"


class EASESettings(FittedSettings):
    """Settings of EASE."""

    l2_weight: Positive = setting(250.0, "Added to the diagonal of the matrix of common users.")
    served_weights: Count = setting(
        200,
        "Weights of each item, the largest in absolute value, that the model keeps; what that "
        "costs on the validation part is in metrics.json.",
    )
