"""Events of many interactions: built in pieces, brought up to date, cut to what a service reads.

Runs are those of :mod:`recbole_hm4sr.data.events`, each in the order of time, weight, falling other
item. Two events that are level in all of it are equal, so that runs depend on the set of the events
alone, in whatever order they came.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.array_files import ArrayWriter, write_array
from recbole_hm4sr.data.events import N_TABLES, EventRuns, TimesOfItems

Array = np.ndarray[Any, Any]
# Of a piece: some 300 MB while it is made.
_MOST_EVENTS = 1 << 22
_BITS = 63


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
    log: Interactions, *, n_items: int, reach: int, counts: Array, most: int = _MOST_EVENTS
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
    bounds = _cut_items(of_item, keys.most_items, max(1, most // reach))
    for table in range(N_TABLES):
        direction, kind = divmod(table, 2)
        for begin, end in bounds:
            places = order[of_item[begin] : of_item[end]].astype(np.int64)
            found = keys.of(places, begin, forward=direction == 0, same=kind == 0)
            piece, sources = keys.read(found)
            first = table * n_items + begin
            counts[first : first + end - begin] = np.bincount(sources, minlength=end - begin)
            yield piece


def _cut_items(of_item: Array, most_items: int, most_interactions: int) -> list[tuple[int, int]]:
    """Ranges of items with so many interactions, or of one item."""
    bounds, begin, n_items = [], 0, len(of_item) - 1
    while begin < n_items:
        end = int(np.searchsorted(of_item, of_item[begin] + most_interactions, side="right")) - 1
        end = min(max(end, begin + 1), begin + most_items, n_items)
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


def write_events(
    folder: Path, log: Interactions, *, n_items: int, reach: int, most: int = _MOST_EVENTS
) -> dict[str, str]:
    """Build all events straight into files, whose hashes are returned by name.

    The memory that this takes does not grow with the events.

    Args:
        folder: Of the files.
        log: The interactions.
        n_items: I, padding included.
        reach: K.
        most: Events of a piece, about.

    Returns:
        The hashes of ``others``, ``distances``, ``times`` and ``starts``.

    Raises:
        DataError: If they cannot be written, or there are too many items and moments.
    """
    counts = np.zeros(N_TABLES * n_items, dtype=np.int64)
    pieces = event_pieces(log, n_items=n_items, reach=reach, counts=counts, most=most)
    names = write_pieces(folder, pieces, log.count_events(reach))
    return {**names, "starts": write_array(folder, starts_of(counts))}


def write_pieces(folder: Path, pieces: Iterable[EventPiece], n_events: int) -> dict[str, str]:
    """Write events as they come; the hashes of ``others``, ``distances`` and ``times``."""
    types = {"others": np.int32, "distances": np.uint8, "times": np.int64}
    writers = {name: ArrayWriter(folder, dtype, (n_events,)) for name, dtype in types.items()}
    try:
        for piece in pieces:
            for name, values in piece._asdict().items():
                writers[name].write(values)
        return {name: writer.close() for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.abandon()


def starts_of(counts: Array) -> Array:
    """Where each run begins, and where the last one ends. Shapes ``[R]`` to ``[R + 1]``, int64."""
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def add_items(starts: Array, n_items: int, *, n_tables: int = 1) -> Array:
    """The beginnings of runs with empty runs for the items behind the old ones.

    Args:
        starts: Of each table's runs, one table after another, and the end of the last. Shape
            ``[tables * I + 1]``, int64.
        n_items: How many items there are now, I or more.
        n_tables: How many tables there are.
    """
    counts = np.diff(starts).reshape(n_tables, -1)
    more = np.zeros((n_tables, n_items - counts.shape[1]), dtype=np.int64)
    return starts_of(np.concatenate([counts, more], axis=1).ravel())


def merge_events(runs: EventRuns, new: EventRuns, most: int = _MOST_EVENTS) -> Iterator[EventPiece]:
    """The events of both, run after run, some at a time: old ones move, and are not sorted again.

    Args:
        runs: The events there are.
        new: The events that come; of as many runs.
        most: Old events of a piece.
    """
    run = np.repeat(np.arange(len(new.starts) - 1), np.diff(new.starts))
    places = _places(runs, new, run)
    columns = ("others", "distances", "times")
    n_events = len(runs.others)
    for begin in range(0, max(n_events, 1), most):
        end = min(begin + most, n_events)
        # What goes behind the last event belongs to the last piece.
        until = len(places) if end == n_events else np.searchsorted(places, end)
        part = slice(int(np.searchsorted(places, begin)), int(until))
        yield EventPiece(
            *(
                np.insert(
                    getattr(runs, it)[begin:end], places[part] - begin, getattr(new, it)[part]
                )
                for it in columns
            )
        )


def _places(runs: EventRuns, new: EventRuns, run: Array) -> Array:
    """Before which old event each new one goes: a search inside its run. Shape ``[E_new]``."""
    low, high = runs.starts[run].copy(), runs.starts[run + 1].copy()
    weights = _weight_order(new.distances, new.others)
    while (open_ := np.flatnonzero(low < high)).size:
        middle = (low[open_] + high[open_]) // 2
        times = runs.times[middle]
        is_before = times < new.times[open_]
        level = np.flatnonzero(times == new.times[open_])
        old = _weight_order(runs.distances[middle[level]], runs.others[middle[level]])
        is_before[level] = old <= weights[open_[level]]
        low[open_] = np.where(is_before, middle + 1, low[open_])
        high[open_] = np.where(is_before, high[open_], middle)
    return low


def _weight_order(distances: Array, others: Array) -> Array:
    """Numbers that rise with the weight, of equal weights with falling other item."""
    return -(distances.astype(np.int64) << 32) - others


def latest_events(
    runs: EventRuns, *, limit: int, before: int, counts: Array, most: int = _MOST_EVENTS
) -> Iterator[EventPiece]:
    """What can be read at a moment or later: the end of each run.

    Args:
        runs: All events.
        limit: Latest events of a run that are read.
        before: The moment. At it, events from it on are not known yet.
        counts: Filled with the events of each run that stay. Shape ``[R]``, int64.
        most: Events of a piece, about; those of a run are never parted.
    """
    begins, ends = runs.starts[:-1], runs.starts[1:]
    firsts = np.maximum(_ends_before(runs, before) - limit, begins)
    counts[:] = ends - firsts
    for begin, end in _cut_items(starts_of(counts), len(counts), most):
        count, first = counts[begin:end], firsts[begin:end]
        starts = starts_of(count)
        kept = np.arange(starts[-1]) + np.repeat(first - starts[:-1], count)
        yield EventPiece(runs.others[kept], runs.distances[kept], runs.times[kept])


def _ends_before(runs: EventRuns, moment: int) -> Array:
    """Where in each run the first event from a moment on stands. Shape ``[R]``, int64."""
    low, high = runs.starts[:-1].copy(), runs.starts[1:].copy()
    while (open_ := np.flatnonzero(low < high)).size:
        middle = (low[open_] + high[open_]) // 2
        is_before = runs.times[middle] < moment
        low[open_] = np.where(is_before, middle + 1, low[open_])
        high[open_] = np.where(is_before, high[open_], middle)
    return low


def merge_times(taken: TimesOfItems, items: Array, times: Array) -> TimesOfItems:
    """When each item was interacted with, new interactions included.

    Args:
        taken: Those there are, with a run for each item.
        items: Of the new interactions. Shape ``[N]``.
        times: Shape ``[N]``, int64.
    """
    order = np.lexsort((times, items))
    items, times = items[order], times[order]
    n_items = len(taken.starts) - 1
    old_items = np.repeat(np.arange(n_items), np.diff(taken.starts))
    whole = np.concatenate([taken.times, times])
    order = np.lexsort((whole, np.concatenate([old_items, items])))
    counts = np.diff(taken.starts) + np.bincount(items, minlength=n_items)
    return TimesOfItems(whole[order], starts_of(counts))
