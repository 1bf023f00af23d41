"""What a user has taken before a target: no candidate where a history is left out.

The ranking (``rank_history: exclude``) and the training (``train_history: exclude``) ask the same
question here, so that both mean the whole history, not only what a window shows of it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.histories import Histories

# Column of a batch: where in the flat histories the first interaction of each window stands.
FIRST_POSITION = "first_position"


# Of a configuration: whether the model's batches have that column. A model says so by an attribute
# of this name; packed models do.
READS_FIRST_POSITION = "reads_first_position"


@dataclass(frozen=True)
class SeenItems:
    """The items that users take, each marked where it comes for the first time.

    Attributes:
        items: Item of each interaction of the flat histories. Shape ``[N]``, int64.
        starts: Position at which the history of its user begins. Shape ``[N]``, int64.
        is_first: Whether its user takes the item for the first time. Shape ``[N]``, bool.
    """

    items: Tensor
    starts: Tensor
    is_first: Tensor

    def before(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct items that each user took before a target, without the target itself.

        Args:
            targets: Positions of the targets in the flat histories, on the CPU. Shape ``[B]``,
                int64.

        Returns:
            Row in ``targets``, ascending, and item of each, both of shape ``[H]``, int64.
        """
        starts = self.starts[targets]
        lengths = targets - starts
        rows = torch.repeat_interleave(torch.arange(len(targets)), lengths)
        offsets = lengths.cumsum(0) - lengths
        positions = torch.arange(len(rows)) - offsets[rows] + starts[rows]
        items = self.items[positions]
        kept = self.is_first[positions] & (items != self.items[targets][rows])
        return rows[kept], items[kept]


def mark_seen(histories: Histories, item_field: str) -> SeenItems:
    """Find where each user takes an item for the first time.

    Args:
        histories: Flat histories.
        item_field: Name of the item column.
    """
    column, starts = histories.columns[item_field], histories.starts.numpy()
    items = column.numpy()
    order = np.lexsort((np.arange(len(items)), items, starts))
    first = np.ones(len(items), dtype=bool)
    first[1:] = (np.diff(items[order]) != 0) | (np.diff(starts[order]) != 0)
    flags = np.empty_like(first)
    flags[order] = first
    return SeenItems(column, histories.starts, torch.from_numpy(flags))
