"""Visits: interactions of a user that follow each other closely, and what is left of one."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


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
