"""Views of a history whose operators read the time between interactions (TiCoSeRec).

A history has the items i_1 to i_n and the times t_1 to t_{n+1}, the last one of the interaction
after it; the gap of an item is the time to the next. Of equal gaps the earlier is the smaller one.
Every random number is an input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
MaskMode = Literal["random", "maximum", "minimum"]
WindowGaps = Literal["fixed", "official"]


@dataclass(frozen=True)
class ViewRules:
    """How views are made.

    Attributes:
        insert_rate: Share of the items behind which a similar one comes.
        substitute_rate: Share of the items that a similar one replaces.
        mask_rate: Share of the items that are masked.
        mask_mode: Which are: those of the largest gaps, of the smallest, or any.
        crop_rate: Share of the items that are kept.
        reorder_rate: Share of the items that are shuffled.
        short_threshold: Histories of so many items or fewer are neither cropped nor shuffled.
        window_gaps: Whether the variance of a window of w items is that of its w - 1 gaps, or as in
            the authors' code of the first w - 2.
    """

    insert_rate: float
    substitute_rate: float
    mask_rate: float
    mask_mode: MaskMode
    crop_rate: float
    reorder_rate: float
    short_threshold: int
    window_gaps: WindowGaps


def make_view(items: Array, gaps: Array, near: Array, rules: ViewRules, draws: Array) -> Array:
    """One view of a history.

    Args:
        items: Shape ``[n]``, int64, n at least 1.
        gaps: Of the items, 0 or more. Shape ``[n]``, int64.
        near: The most similar item of each item, 0 where there is none. Shape ``[I]``, int64.
        rules: How.
        draws: Uniform in [0, 1): one that chooses the operator, then one for each item. Shape
            ``[1 + n]`` or longer.

    Returns:
        Items, 0 where one is masked. Int64.
    """
    is_short = len(items) <= rules.short_threshold
    operators = (_substitute, _insert, _mask) if is_short else _ALL
    operator = operators[int(draws[0] * len(operators))]
    return operator(items, gaps, near, rules, draws[1 : len(items) + 1])


def _insert(items: Array, gaps: Array, near: Array, rules: ViewRules, keys: Array) -> Array:
    count = max(int(rules.insert_rate * len(items)), 1)
    places = np.sort(_by_gap(gaps)[::-1][:count])
    return np.insert(items, places + 1, _similar(items[places], near, keys[places]))


def _substitute(items: Array, gaps: Array, near: Array, rules: ViewRules, keys: Array) -> Array:
    if len(items) == 1:
        return items
    places = _by_gap(gaps)[: max(int(rules.substitute_rate * len(items)), 1)]
    changed = items.copy()
    changed[places] = _similar(items[places], near, keys[places])
    return changed


def _mask(items: Array, gaps: Array, near: Array, rules: ViewRules, keys: Array) -> Array:  # noqa: ARG001
    if len(items) == 1:
        return items
    orders = {
        "random": lambda: np.argsort(keys, kind="stable"),
        "maximum": lambda: _by_gap(gaps)[::-1],
        "minimum": lambda: _by_gap(gaps),
    }
    masked = items.copy()
    masked[orders[rules.mask_mode]()[: int(rules.mask_rate * len(items))]] = 0
    return masked


def _crop(items: Array, gaps: Array, near: Array, rules: ViewRules, keys: Array) -> Array:  # noqa: ARG001
    n, width = len(items), int(rules.crop_rate * len(items))
    if width <= 2:
        place = int(keys[0] * max(n - width, 1))
        return items[place : place + 1]
    start = most_even_window(gaps, width, rules.window_gaps)
    return items[start : start + width]


def _reorder(items: Array, gaps: Array, near: Array, rules: ViewRules, keys: Array) -> Array:  # noqa: ARG001
    width = int(rules.reorder_rate * len(items))
    if width < 2:
        return items
    start = most_even_window(gaps, width, rules.window_gaps)
    window = slice(start, start + width)
    shuffled = items.copy()
    shuffled[window] = items[window][np.argsort(keys[window], kind="stable")]
    return shuffled


_ALL = (_substitute, _insert, _mask, _crop, _reorder)


def most_even_window(gaps: Array, width: int, window_gaps: WindowGaps) -> int:
    """Where the window begins whose gaps have the smallest variance; of equal ones the latest.

    Args:
        gaps: Of n items. Shape ``[n]``, int64.
        width: Items of a window, at least 2 and at most n.
        window_gaps: See :class:`ViewRules`.
    """
    count = width - 1 if window_gaps == "fixed" else width - 2
    values = [int(gap) for gap in gaps]  # without bound: the squares of seconds are large

    def spread(start: int) -> int:
        window = values[start : start + count]
        return count * sum(gap * gap for gap in window) - sum(window) ** 2

    starts = range(len(values) - width, -1, -1)
    return min(starts, key=spread)


def _by_gap(gaps: Array) -> Array:
    """Places of the items, smallest gap first."""
    return np.argsort(gaps, kind="stable")


def _similar(items: Array, near: Array, keys: Array) -> Array:
    """The most similar items, and a random one where there is none."""
    drawn = 1 + (keys * (len(near) - 1)).astype(np.int64)
    found = near[items]
    return np.where(found > 0, found, drawn)


def newest_of(views: Sequence[Array], length: int) -> tuple[Array, Array]:
    """Views as padded rows: the newest items of each, from the first that is not masked.

    Args:
        views: Each with an item that is not masked.
        length: L, at most as many items.

    Returns:
        Rows, padded on the right, ``[B, L]``, and their lengths, ``[B]``; int64.
    """
    rows = np.zeros((len(views), length), dtype=np.int64)
    lengths = np.ones(len(views), dtype=np.int64)
    for number, view in enumerate(views):
        kept = view[-length:]
        kept = kept[np.flatnonzero(kept)[0] :] if kept.any() else view[np.flatnonzero(view)[-1:]]
        rows[number, : len(kept)], lengths[number] = kept, len(kept)
    return rows, lengths
