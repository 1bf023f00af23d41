"""Who bought what next, with the moment from which it is known.

Every two interactions of a user that lie at most ``reach`` apart make two events: forward, from
the earlier item to the later one, and backward. An event is known from the time of the later
interaction on. Events are kept as runs: all events of an item, direction and kind side by side,
oldest first, so that what is known at a moment is the beginning of a run, found by a search.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import DataError

Array = np.ndarray[Any, Any]

DIRECTIONS = ("forward", "backward")
KINDS = ("same", "later")
# The runs in the order of the relations: forward same, forward later, backward same, ...
N_TABLES = len(DIRECTIONS) * len(KINDS)
# Of a piece: some 300 MB while it is made.
MOST_EVENTS = 1 << 22
_BITS = 63


@dataclass(frozen=True)
class EventRuns:
    """All events, as runs: a run holds those of one table and item, oldest first.

    Tables, in the order of the relations: forward same, forward later, backward same, backward
    later. Run number ``table * I + item``.

    Attributes:
        others: The item an event leads to. Shape ``[E]``, int32.
        distances: Interactions between the two, 1 for neighbours: an event weighs 1/distance. Shape
            ``[E]``, uint8.
        times: When the event became known. Shape ``[E]``, int64.
        starts: Where each run begins; one entry more, E, ends the last. Shape ``[4 I + 1]``, int64.
    """

    others: Array
    distances: Array
    times: Array
    starts: Array


@dataclass(frozen=True)
class TimesOfItems:
    """When each item was interacted with, item after item, oldest first.

    Attributes:
        times: Shape ``[N]``, int64.
        starts: Where the times of each item begin; one entry more ends the last. Shape
            ``[I + 1]``, int64.
    """

    times: Array
    starts: Array


def build_events(
    items: Array, times: Array, starts: Array, visits: Array, *, n_items: int, reach: int
) -> EventRuns:
    """The events of interactions ordered by user and time; see :class:`Interactions`.

    Args:
        items: Item numbers; padding has 0 and does not occur. Shape ``[N]``.
        times: Shape ``[N]``, int64.
        starts: Position at which the history of each interaction's user begins. ``[N]``, int64.
        visits: Of :func:`number_visits`. Shape ``[N]``.
        n_items: I, padding included.
        reach: K, the largest distance of two interactions that make an event; at most 255.

    Raises:
        DataError: If there are too many items and moments.
    """
    return sort_events(Interactions(items, times, starts, visits), n_items=n_items, reach=reach)


class EventPiece(NamedTuple):
    """Some events, run after run.

    Attributes:
        others: Shape ``[E]``, int32.
        distances: Shape ``[E]``, uint8.
        times: Shape ``[E]``, int64.
    """

    others: Array
    distances: Array
    times: Array


@dataclass(frozen=True)
class Interactions:
    """Interactions that make events, ordered by user and time.

    Attributes:
        items: Item numbers, from 1. Shape ``[N]``.
        times: Shape ``[N]``, int64.
        starts: Position at which the history of each one's user begins. Shape ``[N]``, int64.
        visits: Of :func:`~recbole_hm4sr.data.events.number_visits`. Shape ``[N]``, int64.
        fresh: Which are new: events are made of pairs whose later one is; None for all. Shape
            ``[N]``, bool.
    """

    items: Array
    times: Array
    starts: Array
    visits: Array
    fresh: Array | None = None

    def count_events(self, reach: int) -> int:
        """E, of all tables: two of each pair of a user at most ``reach`` apart."""
        pairs = np.minimum(np.arange(len(self.starts)) - self.starts, reach)
        return 2 * int(pairs.sum() if self.fresh is None else pairs[self.fresh].sum())


class _Keys:
    """Whole numbers that hold an event and sort as the events of a run do.

    Sorting them takes a tenth of the time that sorting by columns takes.
    """

    def __init__(self, log: Interactions, *, n_items: int, reach: int) -> None:
        self._log, self._reach, self._n_items = log, reach, n_items
        self._moments, ranks = np.unique(log.times, return_inverse=True)
        self._ranks = ranks.reshape(-1).astype(np.int32)
        sizes = len(self._moments), reach, n_items
        self._bits = tuple(max(1, int(size).bit_length()) for size in sizes)
        left = _BITS - sum(self._bits)
        if left < 1:
            raise DataError(
                f"a memory must have fewer items and moments, got {n_items:,} and "
                f"{len(self._moments):,}"
            )
        self.most_items = 1 << min(left, 31)

    def of(self, places: Array, first_item: int, *, forward: bool, same: bool) -> Array:
        """The events that lead from interactions at places, sorted."""
        log, reach = self._log, self._reach
        of_rank, of_distance, of_other = self._bits
        found = []
        for distance in range(1, reach + 1):
            others = places + (distance if forward else -distance)
            inside = (others >= 0) & (others < len(log.items))
            here, there = places[inside], others[inside]
            kept = log.starts[here] == log.starts[there]
            kept &= (log.visits[here] == log.visits[there]) == same
            if log.fresh is not None:
                kept &= log.fresh[there if forward else here]
            here, there = here[kept], there[kept]
            keys = log.items[here].astype(np.int64) - first_item
            keys = (keys << of_rank) | self._ranks[there if forward else here]
            keys = (keys << of_distance) | (reach - distance)  # the nearer is the heavier: later
            found.append((keys << of_other) | (self._n_items - log.items[there]))
        keys = np.concatenate(found)
        keys.sort()
        return keys

    def read(self, keys: Array) -> tuple[EventPiece, Array]:
        """The events, and the item that each leads from, counted from the piece's first."""
        of_rank, of_distance, of_other = self._bits
        others = self._n_items - (keys & ((1 << of_other) - 1))
        keys = keys >> of_other
        distances = self._reach - (keys & ((1 << of_distance) - 1))
        keys >>= of_distance
        times = self._moments[keys & ((1 << of_rank) - 1)]
        piece = EventPiece(others.astype(np.int32), distances.astype(np.uint8), times)
        return piece, keys >> of_rank


def event_pieces(
    log: Interactions, *, n_items: int, reach: int, counts: Array, most: int = MOST_EVENTS
) -> Iterator[EventPiece]:
    """All events, table after table and run after run, some at a time.

    Args:
        log: The interactions.
        n_items: I, padding included.
        reach: K, the largest distance of two interactions that make an event; at most 255.
        counts: Filled with the events of each run. Shape ``[4 I]``, int64.
        most: Events of a piece, about: those of an item are never parted.

    Raises:
        DataError: If there are too many items and moments.
    """
    keys = _Keys(log, n_items=n_items, reach=reach)
    order = np.argsort(log.items, kind="stable")
    if len(order) < 2**31:
        order = order.astype(np.int32)
    of_item = np.zeros(n_items + 1, dtype=np.int64)
    np.cumsum(np.bincount(log.items, minlength=n_items), out=of_item[1:])
    bounds = cut_runs(of_item, keys.most_items, max(1, most // reach))
    for table in range(N_TABLES):
        direction, kind = divmod(table, 2)
        for begin, end in bounds:
            places = order[of_item[begin] : of_item[end]].astype(np.int64)
            found = keys.of(places, begin, forward=direction == 0, same=kind == 0)
            piece, sources = keys.read(found)
            first = table * n_items + begin
            counts[first : first + end - begin] = np.bincount(sources, minlength=end - begin)
            yield piece


def cut_runs(starts: Array, most_runs: int, most_entries: int) -> list[tuple[int, int]]:
    """Ranges of runs with so many entries, or of one run.

    Args:
        starts: Where each run begins, and where the last ends. Shape ``[R + 1]``, int64.
        most_runs: Runs of a range, at most.
        most_entries: Entries of a range, at most, where it has several runs.
    """
    bounds, begin, n_runs = [], 0, len(starts) - 1
    while begin < n_runs:
        end = int(np.searchsorted(starts, starts[begin] + most_entries, side="right")) - 1
        end = min(max(end, begin + 1), begin + most_runs, n_runs)
        bounds.append((begin, end))
        begin = end
    return bounds


def sort_events(log: Interactions, *, n_items: int, reach: int) -> EventRuns:
    """All events in memory: forward same, forward later, backward same, backward later.

    Args:
        log: The interactions.
        n_items: I, padding included.
        reach: K.

    Returns:
        A run for each table and item, table after table.

    Raises:
        DataError: If there are too many items and moments.
    """
    counts = np.zeros(N_TABLES * n_items, dtype=np.int64)
    return join_pieces(event_pieces(log, n_items=n_items, reach=reach, counts=counts), counts)


def join_pieces(pieces: Iterable[EventPiece], counts: Array) -> EventRuns:
    """Pieces, at least one, as runs in memory.

    Args:
        pieces: In their order.
        counts: Events of each run, there once the pieces are. Shape ``[R]``, int64.
    """
    others, distances, times = map(np.concatenate, zip(*pieces, strict=True))
    return EventRuns(others, distances, times, starts_of(counts))


def starts_of(counts: Array) -> Array:
    """Where each run begins, and where the last one ends. Shapes ``[R]`` to ``[R + 1]``, int64."""
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def times_of_items(items: Array, times: Array, *, n_items: int) -> TimesOfItems:
    """When each item was interacted with.

    Args:
        items: Shape ``[N]``.
        times: Shape ``[N]``, int64.
        n_items: I, padding included.
    """
    order = np.lexsort((times, items))
    starts = np.searchsorted(items[order], np.arange(n_items + 1))
    return TimesOfItems(times[order], starts)
