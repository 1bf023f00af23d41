"""All events of a memory, or those that lead to the items of one of several processes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.item_counts import ItemCounts
from recbole_hm4sr.layers.ranges import slices
from recbole_hm4sr.layers.sparse_scores import ScoreRuns
from recbole_hm4sr.parallel.shards import Shards

# Forward same, forward later, backward same, backward later.
N_TABLES = 4
_EVENTS_AT_A_TIME = 2**22


class EventStore(nn.Module):
    """All events, as runs: a run holds those of one table and item, oldest first.

    Where ``counts`` are those of one of several processes, an event is held with the item that it
    leads to, and keeps its number in its whole run.

    Args:
        others: The item each event leads to. Shape ``[E]``, int32.
        distances: Interactions between the two items: an event weighs 1/distance. ``[E]``, uint8.
        times: When each event became known. Shape ``[E]``, int64.
        starts: Where each run begins, number ``table * I + item``, and E. Shape ``[4 I + 1]``,
            int64.
        counts: Damp the item that an event leads to.
    """

    others: Tensor
    distances: Tensor
    times: Tensor
    starts: Tensor
    numbers: Tensor | None

    def __init__(
        self,
        others: Tensor,
        distances: Tensor,
        times: Tensor,
        starts: Tensor,
        counts: ItemCounts,
    ) -> None:
        super().__init__()
        self.counts, self.shards = counts, counts.shards
        self.n_items = (len(starts) - 1) // N_TABLES
        numbers = None
        if self.shards.is_split:
            others, distances, times, starts, numbers = _held(
                others, distances, times, starts, self.shards
            )
        self.register_buffer("others", others, persistent=False)
        self.register_buffer("distances", distances, persistent=False)
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("numbers", numbers, persistent=False)
        self._longest = int(starts.diff().max()) if len(others) else 0

    def known(self, items: Tensor, moments: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """The latest events of items that were known before moments.

        Several processes ask together, for the same, and each finds those that it holds.

        Args:
            items: Shape ``[Q]``, int64.
            moments: The moment of each query, and earlier ones that part its events. ``[Q, M]``,
                int64.
            limit: At most as many of each item and table, the latest.

        Returns:
            First event of each item and table, shape ``[Q, 4]``; and the one past the last that was
            known before each moment, shape ``[Q, 4, M]``; int64.
        """
        tables = torch.arange(N_TABLES, device=items.device) * self.n_items
        runs = items[:, None] + tables
        begins, ends = self.starts[runs][..., None], self.starts[runs + 1][..., None]
        parted = self._first_from(self.times, moments[:, None], begins, ends)
        n_known = self.shards.sum(parted[..., :1] - begins)  # of the whole run
        oldest = (n_known - limit).clamp_(min=0)
        if self.numbers is None:
            begins = begins + oldest
        else:
            begins = self._first_from(self.numbers, oldest, begins, ends)
        return begins[..., 0], torch.maximum(parted, begins)

    def _first_from(self, column: Tensor, bounds: Tensor, begins: Tensor, ends: Tensor) -> Tensor:
        """The first event of runs whose entry in a column is a bound or above it.

        Args:
            column: Does not fall within a run. Shape ``[E]``, int.
            bounds: Shape ``[Q, 1, M]`` or ``[Q, 4, M]``, int64.
            begins: First event of each run. Shape ``[Q, 4, 1]``, int64.
            ends: The one past the last; int64.

        Returns:
            Between ``begins`` and ``ends``. Shape ``[Q, 4, M]``, int64.
        """
        last = (ends - 1).clamp_(min=0)
        below = (begins - 1).expand(-1, -1, bounds.shape[2])  # the last event found below
        for bit in reversed(range(self._longest.bit_length())):
            further = torch.minimum(below + (1 << bit), last)
            entries = column.index_select(0, further.flatten()).view_as(further)
            below = torch.where(entries < bounds, further, below)
        return torch.minimum(below + 1, ends)

    @property
    def n_places(self) -> int:
        """Events of all runs."""
        return len(self.others)

    def read(self, places: Tensor, numbers: Tensor, runs: ScoreRuns) -> tuple[Tensor, Tensor]:
        """The items that events lead to, and their damped weights."""
        items = self.others.index_select(0, places)
        damped = self.counts.damped(items, runs.snapshots, runs.weights.dtype, numbers)
        return items, damped.div_(self.distances.index_select(0, places))


class _HeldEvents(NamedTuple):
    """Some events of each run, and their numbers in the whole run. Shape ``[E_own]``, int32."""

    others: Tensor
    distances: Tensor
    times: Tensor
    starts: Tensor
    numbers: Tensor


def _held(
    others: Tensor, distances: Tensor, times: Tensor, starts: Tensor, shards: Shards
) -> _HeldEvents:
    """The events that lead to the own items; all of them may lie in a file."""
    counts = torch.zeros(len(starts) - 1, dtype=torch.int64)
    pieces = []
    for part in slices(len(others), _EVENTS_AT_A_TIME):
        here = shards.holds(others[part]).nonzero()[:, 0] + part.start
        runs = torch.searchsorted(starts, here, right=True) - 1
        counts += torch.bincount(runs, minlength=len(counts))
        numbers = (here - starts[runs]).int()
        pieces.append((others[here], distances[here], times[here], numbers))
    if not pieces:
        return _HeldEvents(others, distances, times, starts, others)
    own, apart, known, numbers = (torch.cat(column) for column in zip(*pieces, strict=True))
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return _HeldEvents(own, apart, known, ends, numbers)
