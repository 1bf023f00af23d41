"""How often items were interacted with before a moment, and the clock that numbers snapshots."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

DAY_SECONDS = 86400
# Counts of all items at all snapshots are kept up to so many numbers; beyond, they are searched.
_MOST_COUNTS = 2**25


class Clock(NamedTuple):
    """Moments of a data set, in its unit.

    Attributes:
        first: t_0, the first time of all data.
        span: More than the last time minus the first.
        day: Ticks of a day: 86,400, or 86,400,000 with times in milliseconds.
        snapshot: Ticks between two snapshots.
    """

    first: int
    span: int
    day: int = DAY_SECONDS
    snapshot: int = 7 * DAY_SECONDS

    def keys(self, items: Tensor, times: Tensor) -> Tensor:
        """Numbers that sort as (item, time); a time outside the data counts as its ends."""
        inside = (times - self.first).clamp(0, self.span - 1)
        return items.long() * self.span + inside

    def numbers(self, times: Tensor) -> Tensor:
        """Number of the last snapshot at or before each time; before the first time, 0."""
        weeks = torch.div(times - self.first, self.snapshot, rounding_mode="floor")
        return weeks.clamp(min=0)

    def snapshots(self, times: Tensor) -> Tensor:
        """The last snapshot at or before each time; before the first time, the first."""
        return self.first + self.numbers(times) * self.snapshot


class ItemCounts(nn.Module):
    """How often each item had been interacted with before a moment.

    Args:
        times: Of the interactions, item after item, oldest first. Shape ``[N]``, int64.
        starts: Where the times of each item begin, and N. Shape ``[I + 1]``, int64.
        clock: Numbers the snapshots.
        damping: beta.
    """

    starts: Tensor
    keys: Tensor

    def __init__(self, times: Tensor, starts: Tensor, clock: Clock, *, damping: float) -> None:
        super().__init__()
        self.clock, self.damping = clock, damping
        self.n_items = len(starts) - 1
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("keys", clock.keys(_owners(starts), times), persistent=False)
        self._most = int(starts.diff().max()) if self.n_items else 0
        self._table: Tensor | None = None

    def before(self, items: Tensor, moments: Tensor) -> Tensor:
        """Interactions with items strictly before moments. Shapes ``[E]`` to ``[E]``, int64."""
        keys = self.clock.keys(items, moments)
        return torch.searchsorted(self.keys, keys) - self.starts[items]

    def all_before(self, moments: Tensor) -> Tensor:
        """Interactions with every item before moments. Shapes ``[N]`` to ``[N, I]``, int64."""
        items = torch.arange(self.n_items, device=self.starts.device)
        return self.before(items.expand(len(moments), -1), moments[:, None].expand(-1, len(items)))

    def damped(
        self,
        items: Tensor,
        snapshots: Tensor,
        dtype: torch.dtype,
        numbers: Tensor | None = None,
    ) -> Tensor:
        """c^-beta, with c the interactions before a snapshot, at least 1.

        Args:
            items: Shape ``[E]``, int.
            snapshots: Numbers of snapshots: one for each item, or fewer that many items share.
                Shape ``[E]`` or ``[S]``, int64.
            dtype: Of the result.
            numbers: Which of the snapshots each item has, if they are fewer. Shape ``[E]``, int64.

        Returns:
            Shape ``[E]``.
        """
        last = (self.clock.span - 1) // self.clock.snapshot + 1  # all that is known
        if (last + 1) * self.n_items > _MOST_COUNTS:
            moments = self.clock.first + snapshots * self.clock.snapshot
            moments = moments if numbers is None else moments.index_select(0, numbers)
            return self._powers(dtype)[self.before(items, moments)]
        table = self._table
        if table is None or table.dtype != dtype or table.device != items.device:
            table = self._table = self._damped_table(last, dtype)
        cells = snapshots.clamp(max=last) * self.n_items
        cells = (cells if numbers is None else cells.index_select(0, numbers)).add_(items)
        return table.view(-1).index_select(0, cells)

    def _powers(self, dtype: torch.dtype) -> Tensor:
        """What a count is damped to, by count: looked up, so that equal counts are equal bits."""
        counts = torch.arange(self._most + 1, device=self.keys.device)
        return counts.clamp(min=1).to(dtype) ** -self.damping

    def _damped_table(self, last: int, dtype: torch.dtype) -> Tensor:
        """Damped counts of all items at each snapshot. Shape ``[last + 1, I]``."""
        ticks = self.keys - _owners(self.starts) * self.clock.span
        week = torch.div(ticks, self.clock.snapshot, rounding_mode="floor")
        cells = (week + 1) * self.n_items + _owners(self.starts)
        counts = torch.bincount(cells, minlength=(last + 1) * self.n_items)
        return self._powers(dtype)[counts.view(-1, self.n_items).cumsum(0)]


def _owners(starts: Tensor) -> Tensor:
    """Whose each place is, where the places of number i begin at ``starts[i]``."""
    return torch.repeat_interleave(starts.diff())
