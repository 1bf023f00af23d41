"""How later interactions differ from those that a run knows: gaps, lengths, categories."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_hm4sr.data.times import DAY_SECONDS, PER_SECOND, exact_seconds
from recbole_hm4sr.evaluate.groups import GAPS, HISTORY, Buckets
from recbole_hm4sr.page.format import duration, number_text, percent

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drift:
    """One thing that may have changed.

    Attributes:
        what: Its name.
        before: What it was, in words.
        later: What it is now, in words.
        distance: Half the sum of the differences of the shares: 0 for the same, 1 for nothing in
            common; None where there are no shares.
    """

    what: str
    before: str
    later: str
    distance: float | None = None


def measure_drift(part: Any, is_new: Array) -> tuple[Drift, ...]:
    """Compare later interactions with those before.

    Args:
        part: A split with both in its log.
        is_new: Which are later. Shape ``[N]``, bool.
    """
    log, unit = part.log, part.timestamp_unit
    lengths = np.arange(len(log)) - log.starts
    has_history = lengths > 0
    gaps = exact_seconds(np.diff(log.times, prepend=log.times[:1]), unit)
    old, new = has_history & ~is_new, has_history & is_new
    found = [
        _days(log.times, is_new, unit),
        _bucketed("gap before an interaction, median", gaps, old, new, GAPS, duration),
        Drift(
            "at the time of the one before",
            percent(*_share(gaps[old] == 0)),
            percent(*_share(gaps[new] == 0)),
        ),
        _bucketed("history before it, median", lengths, old, new, HISTORY, number_text),
        *_categories(part, is_new),
    ]
    return tuple(found)


def _share(flags: Array) -> tuple[float, float]:
    return float(flags.sum()), float(len(flags))


def _days(times: Array, is_new: Array, unit: str) -> Drift:
    def per_day(own: Array) -> str:
        if not len(own):
            return number_text(None)
        days = (int(own.max()) - int(own.min())) / (DAY_SECONDS * PER_SECOND[unit])
        return number_text(len(own) / max(days, 1.0))

    return Drift("interactions a day", per_day(times[~is_new]), per_day(times[is_new]))


def _bucketed(
    what: str, values: Array, old: Array, new: Array, buckets: Buckets, words: Any
) -> Drift:
    shares = [_shares(buckets.number(values[own]), len(buckets.labels)) for own in (old, new)]
    before, later = (
        words(float(np.median(values[own]))) if own.any() else number_text(None)
        for own in (old, new)
    )
    return Drift(what, before, later, _distance(*shares))


def _categories(part: Any, is_new: Array) -> list[Drift]:
    flags, names = part.categories()
    if not names:
        return []
    items = part.log.items
    weights = [np.bincount(items[own], minlength=len(flags)) for own in (~is_new, is_new)]
    before, later = (_normalised(weight @ flags.astype(np.float64)) for weight in weights)
    moved = np.argsort(-np.abs(later - before), kind="stable")[:5]
    distance = _distance(before, later)
    rows = [Drift("categories", f"{(before > 0).sum()}", f"{(later > 0).sum()}", distance)]
    rows += [
        Drift(f"category {names[it]}", percent(float(before[it])), percent(float(later[it])))
        for it in moved
        if before[it] != later[it]
    ]
    return rows


def _shares(numbers: Array, size: int) -> Array:
    return _normalised(np.bincount(numbers, minlength=size).astype(np.float64))


def _normalised(counts: Array) -> Array:
    shares: Array = counts / max(1.0, float(counts.sum()))
    return shares


def _distance(before: Array, later: Array) -> float:
    return float(np.abs(before - later).sum() / 2)
