"""How often items were interacted with before a moment, and the clock that numbers snapshots."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.ranges import expand_ranges, whole_numbers
from recbole_hm4sr.parallel.shards import Shards

DAY_SECONDS = 86400
# Counts of all items are kept up to so many numbers: at all snapshots, or else at every few.
_MOST_COUNTS = 2**25
# A CPU searches one count in the time in which it makes so many from those that are kept.
_COUNTS_A_SEARCH = 16


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


class _Kept(NamedTuple):
    """What makes the counts of all items at any snapshot, where too many are needed to keep them.

    Attributes:
        every: Snapshots between two whose counts are kept.
        counts: Of those before snapshot 0, ``every``, ... Shape ``[C, I]``, int32.
        items: Of all interactions, by snapshot. Shape ``[N]``, int32.
        ends: Of those before each snapshot, how many there are. Shape ``[last + 1]``, int64.
    """

    every: int
    counts: Tensor
    items: Tensor
    ends: Tensor


class ItemCounts(nn.Module):
    """How often each item had been interacted with before a moment.

    Args:
        times: Of the interactions, item after item, oldest first. Shape ``[N]``, int64.
        starts: Where the times of each item begin, and N. Shape ``[I + 1]``, int64.
        clock: Numbers the snapshots.
        damping: beta.
        shards: Which items are counted here, where other processes count the others. All methods
            but :meth:`damped_of_any` are then of the own items, and I is their number.
    """

    starts: Tensor
    keys: Tensor

    def __init__(
        self,
        times: Tensor,
        starts: Tensor,
        clock: Clock,
        *,
        damping: float,
        shards: Shards | None = None,
    ) -> None:
        super().__init__()
        self.clock, self.damping = clock, damping
        self.shards = Shards.whole(len(starts) - 1) if shards is None else shards
        # Of all items: a power has the same bits in all processes.
        self._most = int(starts.diff().max()) if len(starts) > 1 else 0
        self._first = self.shards.own.start
        if self.shards.is_split:
            starts = starts[self._first : self.shards.own.stop + 1]
            times, starts = times[starts[0] : starts[-1]], starts - starts[0]
        self.n_items = len(starts) - 1
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("keys", clock.keys(_owners(starts), times), persistent=False)
        self._last = (clock.span - 1) // clock.snapshot + 1  # all that is known
        self._table: Tensor | None = None
        self._kept: _Kept | None = None

    def before(self, items: Tensor, moments: Tensor) -> Tensor:
        """Interactions with items strictly before moments. Shapes ``[E]`` to ``[E]``, int64."""
        return self._before(items - self._first, moments)

    def _before(self, items: Tensor, moments: Tensor) -> Tensor:
        """The same; items are counted from the first that is held."""
        keys = self.clock.keys(items, moments)
        return torch.searchsorted(self.keys, keys) - self.starts[items]

    def all_before(self, moments: Tensor) -> Tensor:
        """Interactions with every item before moments. Shapes ``[N]`` to ``[N, I]``, int64."""
        items = torch.arange(self.n_items, device=self.starts.device)
        return self._before(items.expand(len(moments), -1), moments[:, None].expand(-1, len(items)))

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
        items = items - self._first if self._first else items
        snapshots = snapshots.clamp(max=self._last)
        if (self._last + 1) * self.n_items <= _MOST_COUNTS:
            return self._read(self._damped_table(dtype), snapshots, items, numbers)
        if items.device.type == "cpu":
            wanted, lines = torch.unique(snapshots, return_inverse=True)
            if len(wanted) * self.n_items <= _COUNTS_A_SEARCH * len(items):
                return self._read(self._damped_at(wanted, dtype), lines, items, numbers)
        moments = self.clock.first + snapshots * self.clock.snapshot
        moments = moments if numbers is None else moments.index_select(0, numbers)
        return self._powers(dtype)[self._before(items, moments)]

    def damped_of_any(self, items: Tensor, snapshots: Tensor, dtype: torch.dtype) -> Tensor:
        """:meth:`damped` of items that any process counts; all ask together, for the same.

        Args:
            items: Shape ``[E]``, int64.
            snapshots: Shape ``[E]``, int64.
            dtype: Of the result.

        Returns:
            Shape ``[E]``.
        """
        if not self.shards.is_split:
            return self.damped(items, snapshots, dtype)
        here = self.shards.holds(items).nonzero()[:, 0]
        damped = torch.zeros(len(items), dtype=dtype, device=items.device)
        damped[here] = self.damped(items[here], snapshots[here], dtype)
        return self.shards.sum(damped)

    def _read(self, table: Tensor, lines: Tensor, items: Tensor, numbers: Tensor | None) -> Tensor:
        """What a table of all items has in some of its lines; see :meth:`damped`."""
        cells = (lines * self.n_items).to(whole_numbers(table.numel()))
        cells = (cells if numbers is None else cells.index_select(0, numbers)).add_(items)
        return table.view(-1).index_select(0, cells)

    def _powers(self, dtype: torch.dtype) -> Tensor:
        """What a count is damped to, by count: looked up, so that equal counts are equal bits."""
        counts = torch.arange(self._most + 1, device=self.keys.device)
        return counts.clamp(min=1).to(dtype) ** -self.damping

    def _damped_table(self, dtype: torch.dtype) -> Tensor:
        """Damped counts of all items at each snapshot. Shape ``[last + 1, I]``."""
        table, device = self._table, self.keys.device
        if table is None or table.dtype != dtype or table.device != device:
            counts = self._counts_at_every(1)
            table = self._table = self._powers(dtype)[counts]
        return table

    def _damped_at(self, snapshots: Tensor, dtype: torch.dtype) -> Tensor:
        """Damped counts of all items at some snapshots: kept counts, and what came after them.

        Args:
            snapshots: Numbers from 0 to the last. Shape ``[S]``, int64.
            dtype: Of the result.

        Returns:
            Shape ``[S, I]``.
        """
        kept = self._kept
        if kept is None:
            kept = self._kept = self._keep()
        line = torch.div(snapshots, kept.every, rounding_mode="floor")
        counts = kept.counts.index_select(0, line)
        numbers, places = expand_ranges(kept.ends[line * kept.every], kept.ends[snapshots])
        cells = (numbers * self.n_items).add_(kept.items.index_select(0, places))
        counts.view(-1).scatter_add_(0, cells, counts.new_ones(()).expand(len(cells)))
        return self._powers(dtype).index_select(0, counts.view(-1)).view_as(counts)

    def _keep(self) -> _Kept:
        lines = max(2, _MOST_COUNTS // self.n_items)
        every = -(-self._last // (lines - 1))
        of_week = self._weeks()
        by_time = _owners(self.starts)[of_week.argsort(stable=True)]
        ends = torch.bincount(of_week, minlength=self._last + 1).cumsum(0)
        return _Kept(every, self._counts_at_every(every).int(), by_time.int(), ends)

    def _counts_at_every(self, step: int) -> Tensor:
        """Interactions with all items before snapshot 0, ``step``, ... to the last, or beyond.

        Shape ``[ceil(last / step) + 1, I]``, int64.
        """
        lines = torch.div(self._weeks() + step - 1, step, rounding_mode="floor")
        n_lines = -(-self._last // step) + 1
        cells = lines * self.n_items + _owners(self.starts)
        counts = torch.bincount(cells, minlength=n_lines * self.n_items)
        return counts.view(-1, self.n_items).cumsum(0)

    def _weeks(self) -> Tensor:
        """The first snapshot after each interaction, from 1. Shape ``[N]``, int64."""
        ticks = self.keys - _owners(self.starts) * self.clock.span
        return torch.div(ticks, self.clock.snapshot, rounding_mode="floor") + 1


def _owners(starts: Tensor) -> Tensor:
    """Whose each place is, where the places of number i begin at ``starts[i]``."""
    return torch.repeat_interleave(starts.diff())
