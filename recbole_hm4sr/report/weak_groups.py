"""Where a run fails: the groups of test targets that are clearly below the mean."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recbole_hm4sr.evaluate.group_scores import GroupScore
from recbole_hm4sr.evaluate.groups import GAPS, HISTORY, Buckets
from recbole_hm4sr.page.format import duration

# Below that share of the mean a group is called weak, if its interval is below the mean too.
WEAK = 0.75
# Where a model fails, by the name of the group; groups of times and lengths are joined first.
_PLACES = {
    "head": "for frequent items",
    "middle": "for items of middling frequency",
    "tail": "for rare items, the less frequent half",
    "new items": "for items that were not seen in training",
    "known items": "for items that were seen in training",
    "under 5 in training": "for items that training has seen less than five times",
    "5 or more in training": "for items that training has seen five times or more",
    "cold": "for items that nobody had interacted with",
    "warm": "for items that somebody had interacted with",
    "new users": "for users that were not seen in training",
    "known users": "for users that were seen in training",
    "tie": "for items at the time of the interaction before",
    "non-tie": "for items at another time than the interaction before",
}


@dataclass(frozen=True)
class WeakGroup:
    """Test targets that a run ranks badly.

    Attributes:
        place: Where that is, in words: ``after breaks over 30 days``.
        n_targets: How many they are.
        mean: The metric's mean over them.
    """

    place: str
    n_targets: int
    mean: float


def weak_groups(scores: Mapping[str, Sequence[GroupScore]], mean: float) -> tuple[WeakGroup, ...]:
    """Where most is lost, and where the mean is lowest, if that is elsewhere.

    A group of few users is left out, and one whose interval holds the mean of all targets.
    Neighbouring weak ranges of breaks, or of lengths of histories, are one place.

    Args:
        scores: From :func:`~recbole_hm4sr.evaluate.group_scores.scores_by_group`.
        mean: Mean of the metric over all targets.
    """
    found = []
    for title, groups in scores.items():
        plain = [group for group in groups if not group.small]
        if title in _RANGES:
            found += _joined(plain, mean, _RANGES[title])
        else:
            found += [
                WeakGroup(_PLACES.get(group.name, f"for {group.name}"), group.n_targets, group.mean)
                for group in plain
                if _is_weak(group, mean)
            ]
    if not found:
        return ()
    most = max(found, key=lambda group: group.n_targets * (mean - group.mean))
    lowest = min(found, key=lambda group: group.mean)
    return (most,) if lowest.mean >= most.mean else (most, lowest)


def _is_weak(group: GroupScore, mean: float) -> bool:
    # A model that finds none of them has no interval.
    below = group.interval is None or group.interval[1] < mean
    return below and group.mean < WEAK * mean


def _joined(groups: Sequence[GroupScore], mean: float, ranges: "_Ranges") -> list[WeakGroup]:
    """Neighbouring weak ranges as one."""
    found = []
    runs = itertools.groupby(groups, key=lambda group: _is_weak(group, mean))
    for part in (list(members) for is_weak, members in runs if is_weak):
        size = sum(group.n_targets for group in part)
        total = sum(group.mean * group.n_targets for group in part)
        place = ranges.place(
            None if part[0] is groups[0] else part[0].label,
            None if part[-1] is groups[-1] else part[-1].label,
        )
        found.append(WeakGroup(place, size, total / size))
    return found


@dataclass(frozen=True)
class _Ranges:
    """Ranges of a number, and how to speak of several of them."""

    buckets: Buckets
    what: str
    edge: Callable[[float], str]

    def place(self, first: str | None, last: str | None) -> str:
        """In words, from one range to another; None for an end of the axis."""
        labels, edges = self.buckets.labels, self.buckets.edges
        low = "" if first is None else self.edge(edges[labels.index(first)])
        high = "" if last is None else self.edge(edges[labels.index(last) + 1])
        if low and high:
            return f"{self.what} from {low} to under {high}"
        return f"{self.what} under {high}" if high else f"{self.what} over {low}".rstrip()


_RANGES = {
    f"{GAPS.title}, ties left out": _Ranges(GAPS, "after breaks", duration),
    HISTORY.title: _Ranges(HISTORY, "for histories", lambda edge: f"{edge:.0f} items"),
}
