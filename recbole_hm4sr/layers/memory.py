r"""A sparse memory of who bought what next, read as it was at the moment of a request.

For a row with the last items :math:`i_0, i_1, \dots` (newest first) and the moment :math:`T`,
relation :math:`r` gives item :math:`j`

.. math:: m_r(j) = \sum_h q^h \sum_{e:\, i_h \to j \in r} w_e\, c_{i_h}^{-\beta} c_j^{-\beta},

over the events known before :math:`T`. :math:`c` are the interactions with an item before the
snapshot of :math:`T`. Nothing known at :math:`T` or later is ever read.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.ranges import expand_ranges

DAY_SECONDS = 86400


class MemoryEntries(NamedTuple):
    """The sparse scores of some rows: entry e adds ``values[e]`` to one relation of one score.

    Attributes:
        rows: Row of each entry, not falling. Shape ``[E]``, int64.
        items: Item that is scored. Shape ``[E]``, int64.
        relations: Shape ``[E]``, int64.
        values: Shape ``[E]``.
    """

    rows: Tensor
    items: Tensor
    relations: Tensor
    values: Tensor

    def dense(self, n_rows: int, n_relations: int, n_items: int) -> Tensor:
        """All values as a table, for small catalogues and tests. Shape ``[N, R, I]``."""
        table = self.values.new_zeros(n_rows, n_relations, n_items)
        index = (self.rows, self.relations, self.items)
        return table.index_put(index, self.values, accumulate=True)


def join_entries(parts: Sequence[MemoryEntries], n_rows: int) -> MemoryEntries:
    """Entries of several parts, by row; in a row part after part.

    Their places are counted: sorting them takes several times as long.

    Args:
        parts: Each with rows that do not fall.
        n_rows: N.
    """
    counts = torch.stack([torch.bincount(part.rows, minlength=n_rows) for part in parts], dim=1)
    begins = counts.flatten().cumsum(0).view_as(counts) - counts  # [N, P]: where each part goes
    inside = counts.cumsum(0) - counts  # [N, P]: where it comes from
    total = int(sum(len(part.rows) for part in parts))
    joined = MemoryEntries(*(values.new_empty(total) for values in parts[0]))
    for number, part in enumerate(parts):
        shift = (begins - inside)[:, number]
        places = torch.arange(len(part.rows), device=shift.device) + shift[part.rows]
        for whole, values in zip(joined, part, strict=True):
            whole[places] = values
    return joined


class EventTable(nn.Module):
    """The events of one direction and kind, item after item, oldest first.

    Args:
        others: The item each event leads to. Shape ``[E]``, int32.
        distances: Interactions between the two items: an event weighs 1/distance. ``[E]``, uint8.
        times: When each event became known. Shape ``[E]``, int64.
        starts: Where the run of each item begins, and E. Shape ``[I + 1]``, int64.
        clock: Gives keys that sort as (item, time).
    """

    others: Tensor
    distances: Tensor
    times: Tensor
    starts: Tensor
    keys: Tensor

    def __init__(
        self, others: Tensor, distances: Tensor, times: Tensor, starts: Tensor, clock: "Clock"
    ) -> None:
        super().__init__()
        items = torch.repeat_interleave(
            torch.arange(len(starts) - 1, device=starts.device), starts.diff()
        )
        self.clock = clock
        self.register_buffer("others", others, persistent=False)
        self.register_buffer("distances", distances, persistent=False)
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("keys", clock.keys(items, times), persistent=False)

    def known(self, items: Tensor, moments: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """The latest events of items that were known before moments.

        Args:
            items: Shape ``[Q]``, int64.
            moments: Shape ``[Q]``, int64.
            limit: At most as many of each item.

        Returns:
            First event and the one past the last. Shape ``[Q]`` each, int64.
        """
        ends = torch.searchsorted(self.keys, self.clock.keys(items, moments))
        begins = torch.maximum(ends - limit, self.starts[items])
        return torch.minimum(begins, ends), ends


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

    def snapshots(self, times: Tensor) -> Tensor:
        """The last snapshot at or before each time; before the first time, the first."""
        weeks = torch.div(times - self.first, self.snapshot, rounding_mode="floor")
        return self.first + weeks.clamp(min=0) * self.snapshot


class ItemCounts(nn.Module):
    """How often each item had been interacted with before a moment.

    Args:
        times: Of the interactions, item after item, oldest first. Shape ``[N]``, int64.
        starts: Where the times of each item begin, and N. Shape ``[I + 1]``, int64.
        clock: Gives keys that sort as (item, time).
    """

    starts: Tensor
    keys: Tensor

    def __init__(self, times: Tensor, starts: Tensor, clock: Clock) -> None:
        super().__init__()
        items = torch.repeat_interleave(
            torch.arange(len(starts) - 1, device=starts.device), starts.diff()
        )
        self.clock = clock
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("keys", clock.keys(items, times), persistent=False)

    def before(self, items: Tensor, moments: Tensor) -> Tensor:
        """Interactions with items strictly before moments. Shapes ``[E]`` to ``[E]``, int64."""
        keys = self.clock.keys(items, moments)
        return torch.searchsorted(self.keys, keys) - self.starts[items]

    def all_before(self, moments: Tensor) -> Tensor:
        """Interactions with every item before moments. Shapes ``[N]`` to ``[N, I]``, int64."""
        items = torch.arange(len(self.starts) - 1, device=self.starts.device)
        return self.before(items.expand(len(moments), -1), moments[:, None].expand(-1, len(items)))


class EventMemory(nn.Module):
    """Reads the relations of rows from events, neighbours and counts.

    Args:
        tables: Forward same, forward later, backward same, backward later.
        counts: Of the interactions that make events.
        neighbours: For each modality with features, the nearest items of each item, 0 where there
            are no more, and their cosines. Shapes ``[I, k]``, int and float.
        ages: Bounds of the ages in days, rising; an age equal to a bound is below it.
        decay: q, what an item one step further back counts.
        damping: beta.
        limit: Latest events of an item, direction and kind that are read.
        popularity_days: Days before the snapshot whose interactions are popularity; None for none.
    """

    age_bounds: Tensor

    def __init__(
        self,
        tables: Sequence[EventTable],
        counts: ItemCounts,
        neighbours: Sequence[tuple[Tensor, Tensor]] = (),
        *,
        ages: Sequence[float] = (30, 180),
        decay: float = 0.6,
        damping: float = 0.3,
        limit: int = 400,
        popularity_days: float | None = None,
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(tables)
        self.counts = counts
        self.clock = counts.clock
        self.n_neighbour_lists = len(neighbours)
        for number, (items, cosines) in enumerate(neighbours):
            self.register_buffer(f"near_items_{number}", items, persistent=False)
            self.register_buffer(f"near_cosines_{number}", cosines, persistent=False)
        bounds = torch.tensor([round(age * self.clock.day) for age in ages])
        self.register_buffer("age_bounds", bounds, persistent=False)
        self.decay, self.damping, self.limit = decay, damping, limit
        self.popularity_days = popularity_days

    @property
    def n_relations(self) -> int:
        """R, popularity included."""
        per_table = len(self.age_bounds) + 1
        has_popularity = self.popularity_days is not None
        return len(self.tables) * per_table + self.n_neighbour_lists + has_popularity

    def entries(
        self, last_items: Tensor, moments: Tensor, dtype: torch.dtype = torch.float32
    ) -> MemoryEntries:
        """What the memory says of rows, popularity left out.

        Args:
            last_items: The last items of each row, newest first, 0 where the history is shorter.
                Shape ``[N, K]``, int64.
            moments: T of each row: only what was known before it is read. Shape ``[N]``, int64.
            dtype: Of the values.

        Returns:
            The entries, by row.
        """
        rows, steps = last_items.nonzero(as_tuple=True)  # [Q] each
        items, moment = last_items[rows, steps], moments[rows]
        snapshot = self.clock.snapshots(moment)
        own = self.counts.before(items, snapshot).clamp(min=1).to(dtype) ** -self.damping
        weights = self.decay ** steps.to(dtype)
        parts = []
        for number, table in enumerate(cast(Iterable[EventTable], self.tables)):
            begins, ends = table.known(items, moment, self.limit)
            query, event = expand_ranges(begins, ends)
            others = table.others[event].long()
            count = self.counts.before(others, snapshot[query]).clamp(min=1)
            age = torch.bucketize(moment[query] - table.times[event], self.age_bounds)
            values = weights[query] * own[query] * count.to(dtype) ** -self.damping
            values = values / table.distances[event]
            relations = age + number * (len(self.age_bounds) + 1)
            parts.append(MemoryEntries(rows[query], others, relations, values))
        first = len(self.tables) * (len(self.age_bounds) + 1)
        for number in range(self.n_neighbour_lists):
            near = getattr(self, f"near_items_{number}")[items].long()  # [Q, k]
            cosines = getattr(self, f"near_cosines_{number}")[items].to(dtype)
            query, place = near.nonzero(as_tuple=True)
            values = weights[query] * cosines[query, place]
            relations = torch.full_like(query, first + number)
            parts.append(MemoryEntries(rows[query], near[query, place], relations, values))
        return join_entries(parts, len(last_items))

    def popularity(self, moments: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """ln(1 + interactions in the days before the snapshot). Shapes ``[N]`` to ``[N, I]``."""
        assert self.popularity_days is not None
        snapshot = self.clock.snapshots(moments)
        begin = snapshot - round(self.popularity_days * self.clock.day)
        recent = self.counts.all_before(snapshot) - self.counts.all_before(begin)
        return recent.to(dtype).log1p()


def situation(
    last_times: Tensor, lengths: Tensor, moments: Tensor, *, gap: float, day: int
) -> Tensor:
    r"""What is known of a request besides its items: how long a history, how far apart, how late.

    :math:`(\ln n, [v_t = v_{t-1}], [n = 1], \log_2(1 + g)/5, \ln u, [u = n], [e \le gap],
    \log_2(1 + e)/5)` with g the days between the two newest items, u the newest items of one visit
    among the last ten, and e the days from the newest item to the request.

    Args:
        last_times: Times of the last items of each row, newest first; any value behind the end of
            the history. Shape ``[N, K]``, int64.
        lengths: n, items of each history, at least 1. Shape ``[N]``, int64.
        moments: T, when the request is made. Shape ``[N]``, int64.
        gap: Longest time between two interactions of one visit, in the unit of the times.
        day: Ticks of a day.

    Returns:
        Shape ``[N, 8]``, float64.
    """
    steps = torch.arange(1, last_times.size(1), device=last_times.device)
    is_there = steps < lengths[:, None]  # [N, K - 1]
    between = (last_times[:, :-1] - last_times[:, 1:]).masked_fill(~is_there, 0)
    joined = (between <= gap) & is_there
    in_visit = 1 + joined.cumprod(dim=1).sum(dim=1)
    n = lengths.double()
    days = between[:, 0].double() / day
    late = (moments - last_times[:, 0]).clamp(min=0)
    return torch.stack(
        [
            n.log(),
            joined[:, 0].double(),
            (lengths == 1).double(),
            days.log1p() / (5 * math.log(2)),
            in_visit.double().log(),
            (in_visit == lengths).double(),
            (late <= gap).double(),
            (late.double() / day).log1p() / (5 * math.log(2)),
        ],
        dim=1,
    )
