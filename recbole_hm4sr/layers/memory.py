r"""A sparse memory of who bought what next, read as it was at the moment of a request.

For a row with the last items :math:`i_0, i_1, \dots` (newest first) and the moment :math:`T`,
relation :math:`r` gives item :math:`j`

.. math:: m_r(j) = \sum_h q^h \sum_{e:\, i_h \to j \in r} w_e\, c_{i_h}^{-\beta} c_j^{-\beta},

over the events known before :math:`T`. :math:`c` are the interactions with an item before the
snapshot of :math:`T`. Nothing known at :math:`T` or later is ever read.

Where several processes share the items, each holds what leads to its own: the events, neighbours
and counts of the items :math:`j`. All read together, for the same rows, and each finds the part of
:math:`m_r` of its items; what of :math:`i_h` others hold, the length of its run and its
:math:`c`, is a sum over them.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.event_store import N_TABLES, EventStore
from recbole_hm4sr.layers.item_counts import ItemCounts
from recbole_hm4sr.layers.neighbour_lists import NeighbourLists
from recbole_hm4sr.layers.ranges import expand_ranges
from recbole_hm4sr.layers.sparse_scores import FixedStore, ScoreRuns, runs_by_row

_ODD = 0x5851F42D4C957F2D


class EventMemory(nn.Module):
    """Reads the relations of rows from events, neighbours and counts.

    Args:
        events: Who bought what next.
        counts: Of the interactions that make events; they know which items are held here.
        neighbours: For each modality with features, the nearest items of each item, 0 where there
            are no more, and their cosines. Shapes ``[I, k]``, int and float.
        ages: Bounds of the ages in days, rising; an age equal to a bound is below it.
        decay: q, what an item one step further back counts.
        limit: Latest events of an item, direction and kind that are read.
        popularity_days: Days before the snapshot whose interactions are popularity; None for none.
    """

    age_bounds: Tensor

    def __init__(
        self,
        events: EventStore,
        counts: ItemCounts,
        neighbours: Sequence[tuple[Tensor, Tensor]] = (),
        *,
        ages: Sequence[float] = (30, 180),
        decay: float = 0.6,
        limit: int = 400,
        popularity_days: float | None = None,
    ) -> None:
        super().__init__()
        self.events, self.counts, self.clock = events, counts, counts.clock
        self.n_neighbour_lists = len(neighbours)
        self.neighbours = nn.ModuleList(
            NeighbourLists(items, cosines, counts.shards) for items, cosines in neighbours
        )
        bounds = torch.tensor([round(age * self.clock.day) for age in ages])
        self.register_buffer("age_bounds", bounds, persistent=False)
        self.decay, self.limit = decay, limit
        self.popularity_days = popularity_days

    @property
    def n_event_relations(self) -> int:
        """Relations of events: a table and an age each."""
        return N_TABLES * (len(self.age_bounds) + 1)

    @property
    def n_relations(self) -> int:
        """R, popularity included."""
        has_popularity = self.popularity_days is not None
        return self.n_event_relations + self.n_neighbour_lists + has_popularity

    def runs(
        self, last_items: Tensor, moments: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[ScoreRuns, ...]:
        """What the memory says of rows.

        Args:
            last_items: The last items of each row, newest first, 0 where the history is shorter.
                Shape ``[N, K]``, int64.
            moments: T of each row: only what was known before it is read. Shape ``[N]``, int64.
            dtype: Of the values.

        Returns:
            Runs of the events, of the neighbours by each modality, and of popularity.
        """
        rows, steps = last_items.nonzero(as_tuple=True)
        read = _Read(
            rows=rows,
            steps=steps,
            items=last_items[rows, steps],
            moments=moments[rows],
            decayed=self.decay ** steps.to(dtype),
            n_rows=len(last_items),
        )
        parts = [self._of_events(read)]
        parts += [self._of_neighbours(read, number) for number in range(self.n_neighbour_lists)]
        if self.popularity_days is not None:
            parts.append(self._of_popularity(moments, dtype))
        return tuple(parts)

    def marks(self, items: Tensor) -> Tensor:
        """Numbers that are equal where all that the memory knows of two items is.

        That is who leads to them, how and when; to whom they are near; and when they were taken.

        Args:
            items: Each once. Shape ``[K]``, int64.

        Returns:
            Shape ``[K]``, int64.
        """
        events, counts = self.events, self.counts
        place = torch.full((events.n_items,), -1, device=items.device)
        place[items] = torch.arange(len(items), device=items.device)
        wanted = place >= 0
        sums = torch.zeros(len(items), dtype=torch.int64, device=items.device)

        def add(others: Tensor, *columns: Tensor) -> None:
            sums.index_add_(0, place.index_select(0, others), mix(*columns))

        at = wanted.index_select(0, events.others).nonzero()[:, 0]
        run = torch.searchsorted(events.starts, at, right=True)
        add(events.others[at], run, events.distances[at].long(), events.times[at])
        for number in range(self.n_neighbour_lists):
            owner, near, cosines = self._lists(number).near_to(wanted)
            # Nearness is mutual, but lists end: in whose an item is, and how near.
            bits = cosines.double().view(torch.int64)
            add(near, torch.full_like(owner, -1 - number), owner, bits)
        own, at = expand_ranges(counts.starts[items], counts.starts[items + 1])
        ticks = counts.keys[at] - items[own] * self.clock.span
        add(items[own], torch.full_like(own, -1 - self.n_neighbour_lists), own * 0, ticks)
        return sums

    def _lists(self, number: int) -> NeighbourLists:
        """The nearest items by a modality."""
        return cast(NeighbourLists, self.neighbours[number])

    def _of_events(self, read: "_Read") -> ScoreRuns:
        oldest = read.moments[:, None] - self.age_bounds  # [Q, ages - 1]
        moments = torch.cat([read.moments[:, None], oldest], dim=1)
        begins, ends = self.events.known(read.items, moments, self.limit)
        edges = torch.cat([ends, begins[..., None]], dim=2)  # [Q, 4, ages + 1]
        snapshots = self.clock.numbers(read.moments)
        damped = self.counts.damped_of_any(read.items, snapshots, read.decayed.dtype)
        n_relations = self.n_event_relations

        def of_query(values: Tensor) -> Tensor:
            return values[:, None].expand(-1, n_relations).flatten()

        relations = torch.arange(n_relations, device=begins.device)
        return runs_by_row(
            of_query(read.rows),
            edges[..., 1:].flatten(),
            edges[..., :-1].flatten(),
            relations=relations.expand(len(begins), -1).flatten(),
            steps=of_query(read.steps),
            snapshots=of_query(snapshots),
            weights=of_query(read.decayed * damped),
            n_rows=read.n_rows,
            store=self.events,
        )

    def _of_neighbours(self, read: "_Read", number: int) -> ScoreRuns:
        lists = self._lists(number)
        return runs_by_row(
            read.rows,
            lists.begins[read.items],
            lists.ends[read.items],
            relations=torch.full_like(read.rows, self.n_event_relations + number),
            steps=read.steps,
            snapshots=torch.zeros_like(read.rows),
            weights=read.decayed,
            n_rows=read.n_rows,
            store=lists.store,
        )

    def _of_popularity(self, moments: Tensor, dtype: torch.dtype) -> ScoreRuns:
        """The items taken of late are few: those of each week are a run for all rows of it."""
        weeks, week = torch.unique(self.clock.snapshots(moments), return_inverse=True)
        recent = self.popularity(weeks, dtype)  # [weeks, I]
        of_week, items = recent.nonzero(as_tuple=True)
        offsets = torch.searchsorted(of_week, torch.arange(len(weeks) + 1, device=of_week.device))
        rows = torch.arange(len(moments), device=moments.device)
        return runs_by_row(
            rows,
            offsets[week],
            offsets[week + 1],
            relations=torch.full_like(rows, self.n_relations - 1),
            steps=torch.full_like(rows, -1),
            snapshots=torch.zeros_like(rows),
            weights=torch.ones(len(rows), dtype=dtype, device=rows.device),
            n_rows=len(moments),
            store=FixedStore(items + self.counts.shards.own.start, recent[of_week, items]),
        )

    def popularity(self, moments: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """ln(1 + interactions in the days before the snapshot). Shapes ``[N]`` to ``[N, I]``.

        Of the items that are held here.
        """
        assert self.popularity_days is not None
        snapshot = self.clock.snapshots(moments)
        begin = snapshot - round(self.popularity_days * self.clock.day)
        recent = self.counts.all_before(snapshot) - self.counts.all_before(begin)
        return recent.to(dtype).log1p()


class _Read(NamedTuple):
    """The items of histories that are read, one a query.

    Attributes:
        rows: Row of each, not falling. Shape ``[Q]``, int64.
        steps: Interactions between it and the newest. Shape ``[Q]``, int64.
        items: Shape ``[Q]``, int64.
        moments: T of its row. Shape ``[Q]``, int64.
        decayed: q^step. Shape ``[Q]``.
        n_rows: N.
    """

    rows: Tensor
    steps: Tensor
    items: Tensor
    moments: Tensor
    decayed: Tensor
    n_rows: int


def mix(*columns: Tensor) -> Tensor:
    """One number of several, each bit of which depends on all of theirs. Shape ``[E]``, int64."""
    mixed = torch.zeros_like(columns[0])
    for column in columns:
        mixed = (mixed + column) * _ODD  # wraps around
        mixed = mixed ^ (mixed >> 29)
    return mixed * _ODD
