"""RepeatLast: the items of the history again, the newest first."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm, newest_only
from recbole_hm4sr.model.trivial.settings import RepeatLastSettings

_log = logging.getLogger(__name__)


class RepeatLast(ClosedForm):
    """Scores an item of the history by how recent it is, 1 / (1 + items since), and others by 0.

    It says how much of a data set is repetition. Where nobody has an item twice, every target ties
    at 0 with all others and is ranked by its popularity.
    """

    settings_class = RepeatLastSettings
    table_parts = ("repeats",)

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """Each item has a weight of 1 for itself."""
        seen = mark_seen(data.inter_feat.histories, data.iid_field)
        if bool(seen.is_first[data.shown_interactions()].all()):
            _log.warning(
                "nobody has an item twice in the training part: RepeatLast ranks by popularity"
            )
        n_items = len(counts)
        return {
            "offsets": np.arange(n_items + 1),
            "others": np.arange(n_items, dtype=np.int32),
            "values": np.ones(n_items, dtype=np.float32),
        }

    def weigh(self, items: Tensor) -> Tensor:
        """1 / (1 + h) of the item h before the newest, where it comes for the last time."""
        since = torch.arange(items.shape[1], dtype=torch.float64, device=items.device)
        return newest_only(items) / (1 + since)
