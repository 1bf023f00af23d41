"""RecentPopular: the items that occur most often in the last days of the training part."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm
from recbole_hm4sr.model.trivial.settings import RecentPopularSettings

_DAY = 86_400


class RecentPopular(ClosedForm):
    """Scores an item by the number of its interactions in the last days of the training part.

    With leave one out the training part ends at another moment for every user: its last days are
    those before its newest interaction.
    """

    settings_class = RecentPopularSettings
    own_part = "recent_count"

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """Counts of the interactions less than ``recent_days`` before the newest."""
        shown = data.shown_interactions().numpy()
        items, times = data.log.items[shown], data.log.times[shown]
        span = self.settings.recent_days * _DAY * PER_SECOND[data.timestamp_unit]
        recent = items[times > times.max() - span]
        return {"own": np.bincount(recent, minlength=len(counts)).astype(np.float32)}
