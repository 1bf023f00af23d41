"""Who bought what next, with the moment from which it is known.

Every two interactions of a user that lie at most ``reach`` apart make two events: forward, from
the earlier item to the later one, and backward. An event is known from the time of the later
interaction on. Events are kept as runs: all events of an item, direction and kind side by side,
oldest first, so that what is known at a moment is the beginning of a run, found by a search.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

DIRECTIONS = ("forward", "backward")
KINDS = ("same", "later")
# The runs in the order of the relations: forward same, forward later, backward same, ...
N_TABLES = len(DIRECTIONS) * len(KINDS)


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


def number_visits(times: Array, starts: Array, *, gap: float) -> Array:
    """Number the visits: a new one begins where more than ``gap`` passed since the one before.

    Args:
        times: Times of interactions ordered by user and time. Shape ``[N]``, int64.
        starts: Position at which the history of each interaction's user begins. ``[N]``, int64.
        gap: In the unit of the times. Visits chain: the first and last of one may lie further
            apart.

    Returns:
        The same number for the interactions of one visit, rising. Shape ``[N]``, int64.
    """
    begins = np.ones(len(times), dtype=np.bool_)
    begins[1:] = (np.diff(times) > gap) | (starts[1:] == np.arange(1, len(times)))
    return np.cumsum(begins) - 1


def build_events(
    items: Array, times: Array, starts: Array, visits: Array, *, n_items: int, reach: int
) -> EventRuns:
    """The events of interactions ordered by user and time.

    Args:
        items: Item numbers; padding has 0 and does not occur. Shape ``[N]``.
        times: Shape ``[N]``, int64.
        starts: Position at which the history of each interaction's user begins. ``[N]``, int64.
        visits: Of :func:`number_visits`. Shape ``[N]``.
        n_items: I, padding included.
        reach: K, the largest distance of two interactions that make an event; at most 255.

    """
    first, second = _pairs(starts, reach)
    kind = (visits[first] != visits[second]).astype(np.int64)
    distances, known = (second - first).astype(np.uint8), times[second]
    sources = np.concatenate(
        [kind * n_items + items[first], (len(KINDS) + kind) * n_items + items[second]]
    )
    others = np.concatenate([items[second], items[first]]).astype(np.int32)
    return _runs(
        sources, others, np.tile(distances, 2), np.tile(known, 2), n_runs=N_TABLES * n_items
    )


def _pairs(starts: Array, reach: int) -> tuple[Array, Array]:
    """Positions of every two interactions of a user at most ``reach`` apart."""
    n = len(starts)
    firsts, seconds = [], []
    for distance in range(1, min(reach, n - 1) + 1):
        second = np.arange(distance, n)
        own = second[starts[second] <= second - distance]
        firsts.append(own - distance)
        seconds.append(own)
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate(firsts or [empty]), np.concatenate(seconds or [empty])


def _runs(
    sources: Array, others: Array, distances: Array, times: Array, *, n_runs: int
) -> EventRuns:
    """Sort by run, time, weight; of equal weights the lower other item is the later."""
    # The smaller distance is the heavier event; both fall, so that the last of a run is kept.
    order = np.lexsort((-others, -distances.astype(np.int16), times, sources))
    starts = np.searchsorted(sources[order], np.arange(n_runs + 1))
    return EventRuns(others[order], distances[order], times[order], starts)


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


def nearest_items(rows: Any, *, n_neighbours: int, batch: int = 64) -> tuple[Array, Array]:
    """The nearest other items of each item by the cosine of their features.

    Cosines are rounded to nine digits, so that equal ones are equal in whatever order they were
    summed.

    Args:
        rows: Features by item number, a matrix or a SciPy sparse matrix; row 0 is padding. Rows of
            zeros have no neighbours and are nobody's. Shape ``[I, F]``.
        n_neighbours: At most as many for each item.
        batch: Items at a time.

    Returns:
        Item numbers, nearest first, of equal cosines the lower number; 0 where there are no more.
        Shape ``[I, k]``, int32. Their cosines, all above 0; 0 where there are no more. Shape
        ``[I, k]``, float64.
    """
    n_items = rows.shape[0]
    near = np.zeros((n_items, n_neighbours), dtype=np.int32)
    found = np.zeros((n_items, n_neighbours))
    blocks = _dense_cosines if isinstance(rows, np.ndarray) else _sparse_cosines
    for begin, block in blocks(rows, batch):
        row, place = np.nonzero(block.cosines >= _least(block.cosines, n_neighbours))
        others, values = block.items(row, place), np.round(block.cosines[row, place], 9)
        is_near = (others != row + begin) & (values > 0)
        row, others, values = row[is_near], others[is_near], values[is_near]
        order = np.lexsort((others, -values, row))
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        best = rank < n_neighbours
        near[row[best] + begin, rank[best]] = others[order[best]]
        found[row[best] + begin, rank[best]] = values[order[best]]
    return near, found


def _least(cosines: Array, n_neighbours: int) -> Array:
    """What a cosine must be to be among the nearest after all were rounded. Shape ``[B, 1]``."""
    n_wanted = n_neighbours + 1  # the item itself may be one
    place = cosines.shape[1] - n_wanted
    if place <= 0:
        return np.full((len(cosines), 1), _STEP / 2)
    last = np.partition(cosines, place, axis=1)[:, place, None]
    return np.maximum(last - _STEP, _STEP / 2)


_STEP = 1e-9  # of rounded cosines


class _Cosines(NamedTuple):
    """Cosines of some items with others; zeros behind a row's last. Shape ``[B, W]``.

    The item of the cosine at place w of row b is ``others[begins[b] + w]``.
    """

    cosines: Array
    others: Array
    begins: Array

    def items(self, row: Array, place: Array) -> Array:
        return self.others[self.begins[row] + place]


def _sparse_cosines(rows: Any, batch: int) -> Iterator[tuple[int, _Cosines]]:
    """The first item of each block, and the cosines of its items that are not 0."""
    import scipy.sparse

    sparse = scipy.sparse.csr_matrix(rows, dtype=np.float64)
    lengths = np.sqrt(np.asarray(sparse.multiply(sparse).sum(axis=1)).ravel())
    unit = scipy.sparse.csr_matrix(scipy.sparse.diags(_inverse(lengths)) @ sparse)
    turned = scipy.sparse.csr_matrix(unit.T)
    for begin in range(0, sparse.shape[0], batch):
        block = (unit[begin : begin + batch] @ turned).tocsr()
        counts = np.diff(block.indptr)
        cosines = np.zeros((len(counts), counts.max()))
        cosines[np.arange(counts.max()) < counts[:, None]] = block.data
        yield begin, _Cosines(cosines, block.indices, block.indptr)


def _dense_cosines(rows: Array, batch: int) -> Iterator[tuple[int, _Cosines]]:
    """As :func:`_sparse_cosines`, with all items in their order."""
    unit = rows.astype(np.float64)
    unit *= _inverse(np.sqrt((unit * unit).sum(axis=1)))[:, None]
    every = np.arange(len(rows))
    for begin in range(0, len(rows), batch):
        block = unit[begin : begin + batch]
        yield begin, _Cosines(block @ unit.T, every, np.zeros(len(block), dtype=np.int64))


def _inverse(lengths: Array) -> Array:
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)


class VisitTargets(NamedTuple):
    """What is left of the visit of each target, as a sparse set.

    Attributes:
        rows: Row of each entry, not falling. Shape ``[E]``, int64.
        items: Each item once a row, the row's next item among them. Shape ``[E]``, int64.
        weights: 1 / items of the row. Shape ``[E]``, float64.
    """

    rows: Array
    items: Array
    weights: Array


def visit_targets(
    items: Array, visits: Array, positions: Array, *, n_items: int, reach: int = 10
) -> VisitTargets:
    """The next item of each row and the items of its visit after it.

    Args:
        items: Of the training part, ordered by user and time. Shape ``[N]``.
        visits: Of :func:`number_visits`, of the training part alone. Shape ``[N]``.
        positions: Where the next item of each row stands. Shape ``[B]``.
        n_items: I, padding included.
        reach: Interactions behind the next item that still count.
    """
    places = positions[:, None] + np.arange(reach + 1)  # [B, reach + 1]
    inside = places < len(items)
    places = np.minimum(places, len(items) - 1)
    inside &= visits[places] == visits[positions][:, None]
    rows, steps = np.nonzero(inside)
    keys = np.unique(rows * n_items + items[places[rows, steps]])
    rows, found = np.divmod(keys, n_items)
    counts = np.bincount(rows, minlength=len(positions))
    return VisitTargets(rows, found, 1.0 / counts[rows])
