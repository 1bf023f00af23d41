"""Events of many interactions: built in pieces, brought up to date, cut to what a service reads.

Runs are those of :mod:`recbole_hm4sr.data.events`, each in the order of time, weight, falling other
item. Two events that are level in all of it are equal, so that runs depend on the set of the events
alone, in whatever order they came.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.data.array_files import ArrayWriter, map_once, write_array
from recbole_hm4sr.data.events import (
    MOST_EVENTS,
    N_TABLES,
    EventPiece,
    EventRuns,
    Interactions,
    TimesOfItems,
    cut_runs,
    event_pieces,
    starts_of,
)

Array = np.ndarray[Any, Any]


def write_events(
    folder: Path, log: Interactions, *, n_items: int, reach: int, most: int = MOST_EVENTS
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


def map_events(folder: Path, log: Interactions, *, n_items: int, reach: int) -> EventRuns:
    """All events, mapped: one process builds them, and all of a machine hold them once.

    Args:
        folder: Of the files, by what they are made of; what is there already is not built again.
        log: The interactions.
        n_items: I, padding included.
        reach: K.

    Raises:
        DataError: If they cannot be written, or there are too many items and moments.
    """
    return EventRuns(
        **map_once(
            folder,
            _key_of(log, n_items, reach),
            lambda: write_events(folder, log, n_items=n_items, reach=reach),
        )
    )


def _key_of(log: Interactions, n_items: int, reach: int) -> str:
    """A hash of all that events are made of."""
    digest = hashlib.sha256(f"events 1, {n_items}, {reach}".encode())
    for column in (log.items, log.times, log.starts, log.visits):
        digest.update(np.ascontiguousarray(column, dtype=np.int64).data)
    return digest.hexdigest()


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


def merge_events(runs: EventRuns, new: EventRuns, most: int = MOST_EVENTS) -> Iterator[EventPiece]:
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


def write_merged(folder: Path, runs: EventRuns, new: EventRuns) -> dict[str, str]:
    """Write the events of both, which have as many runs; the hashes of all arrays by name.

    Raises:
        DataError: If they cannot be written.
    """
    names = write_pieces(folder, merge_events(runs, new), len(runs.others) + len(new.others))
    starts = starts_of(np.diff(runs.starts) + np.diff(new.starts))
    return {**names, "starts": write_array(folder, starts)}


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


def latest_runs(runs: EventRuns, *, limit: int, before: int) -> tuple[Array, Array]:
    """What can be read of each run at a moment or later: its end.

    Args:
        runs: All events.
        limit: Latest events of a run that are read.
        before: The moment. At it, events from it on are not known yet.

    Returns:
        First event of each run that stays, and how many do. Shape ``[R]`` each, int64.
    """
    firsts = np.maximum(_ends_before(runs, before) - limit, runs.starts[:-1])
    return firsts, runs.starts[1:] - firsts


def cut_pieces(
    runs: EventRuns, firsts: Array, counts: Array, most: int = MOST_EVENTS
) -> Iterator[EventPiece]:
    """Some consecutive events of each run, run after run, some at a time.

    Args:
        runs: All events.
        firsts: Shape ``[R]``, int64.
        counts: How many of each run. Shape ``[R]``, int64.
        most: Events of a piece, about; those of a run are never parted.
    """
    for begin, end in cut_runs(starts_of(counts), len(counts), most):
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
