"""Groups of test targets: one definition for the tables of a comparison and the pages of a report.

A grouping asks one question of every target, its groups are the answers. A group of few users is
shown and marked, never left out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Ranks = Mapping[str, Array]

SMALL = 20  # users; the mean of fewer says little
SMALL_WORDS = f"fewer than {SMALL} users: their means say little"
DAY = 86400
ESTABLISHED = 5  # interactions before the cut of an item that claims about later weeks rest on


@dataclass(frozen=True)
class Buckets:
    """Named ranges of a number.

    Attributes:
        title: What is measured, with its unit.
        edges: Lowest value of each range, ascending.
        labels: A name for each.
    """

    title: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def number(self, values: Array) -> Array:
        """Range of each value, from 0; smaller values than the first edge are in the first.

        >>> HISTORY.number(np.array([1, 6, 400])).tolist()
        [1, 3, 6]
        """
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, None)


# Times are whole milliseconds at the finest: whatever is no tie is in a later range.
GAPS = Buckets(
    "Time since the interaction before",
    (0, 0.001, 60, 600, 3600, 6 * 3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY),
    (
        "same time",
        "under 1 min",
        "1 to 10 min",
        "10 to 60 min",
        "1 to 6 h",
        "6 to 24 h",
        "1 to 7 days",
        "7 to 30 days",
        "30 to 90 days",
        "90 to 365 days",
        "over a year",
    ),
)
HISTORY = Buckets(
    "Length of the history, items",
    (0, 1, 3, 6, 11, 21, 51),
    ("none", "1 to 2", "3 to 5", "6 to 10", "11 to 20", "21 to 50", "51 or more"),
)
_POPULARITY = ("head", "middle", "tail")


@dataclass(frozen=True)
class Grouping:
    """One way to split test targets.

    Attributes:
        title: What it asks, with its unit.
        labels: The answers, in their order: names of its groups beside the title.
        names: Names of the groups in a table of all groupings.
        columns: Columns of ``test_ranks.npz`` that it reads; a file may lack those of
            :data:`OPTIONAL_COLUMNS`.
        number: From these columns to the group of each target, from 0; -1 for none.
    """

    title: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[str, ...]
    number: Callable[[Ranks], Array]


def _training_length(ranks: Ranks) -> Array:
    """Interactions of each target's user in training; not 0 where a run does not say."""
    return ranks.get("training_length", np.ones_like(ranks["target_count"]))


def _before(ranks: Ranks) -> Array:
    """0 where nobody had interacted with the target before, 1 where somebody had; -1: not said."""
    before = ranks.get("interactions_before")
    return np.full(len(ranks["user"]), -1) if before is None else (before > 0).astype(np.int64)


def _popularity(ranks: Ranks) -> Array:
    return np.argmax([ranks["popularity"] == name for name in _POPULARITY], axis=0)


# In the order of tables and pages.
GROUPINGS = (
    Grouping(
        HISTORY.title,
        HISTORY.labels,
        tuple(f"history {label}" for label in HISTORY.labels),
        ("history_length",),
        lambda ranks: HISTORY.number(ranks["history_length"]),
    ),
    Grouping(
        "Popularity of the target in training",
        _POPULARITY,
        _POPULARITY,
        ("popularity",),
        _popularity,
    ),
    Grouping(
        "Target seen in training",
        ("new items", "known items"),
        ("new items", "known items"),
        ("target_count",),
        lambda ranks: np.where(ranks["target_count"] == 0, 0, 1),
    ),
    Grouping(
        "How often the target was seen in training",
        ("fewer than five times", "five times or more"),
        ("under 5 in training", "5 or more in training"),
        ("target_count",),
        lambda ranks: np.where(ranks["target_count"] < ESTABLISHED, 0, 1),
    ),
    Grouping(
        "Interactions of anybody with the target before the request",
        ("cold", "warm"),
        ("cold", "warm"),
        ("interactions_before",),
        _before,
    ),
    Grouping(
        "User seen in training",
        ("new users", "known users"),
        ("new users", "known users"),
        ("target_count", "training_length"),
        lambda ranks: np.where(_training_length(ranks) == 0, 0, 1),
    ),
    Grouping(
        "Ties: target at the time of the interaction before",
        ("tie", "non-tie"),
        ("tie", "non-tie"),
        ("gap_seconds",),
        lambda ranks: np.where(ranks["gap_seconds"] == 0, 0, 1),
    ),
    Grouping(
        f"{GAPS.title}, ties left out",
        GAPS.labels[1:],
        tuple(f"gap {label}" for label in GAPS.labels[1:]),
        ("gap_seconds",),
        lambda ranks: GAPS.number(ranks["gap_seconds"]) - 1,
    ),
)
GROUP_NAMES = tuple(name for grouping in GROUPINGS for name in grouping.names)
# Of users, in runs since some release; of items, with catalogue: all alone.
OPTIONAL_COLUMNS = frozenset({"training_length", "interactions_before"})
GROUP_COLUMNS = frozenset(name for grouping in GROUPINGS for name in grouping.columns)
# What claims about the weeks after training rest on, in a split by one moment.
CUT_GROUPS = ("known items", "5 or more in training", "new items")
FRESHNESS_NOTE = (
    "A five-core data set flatters freshness: an item of its last weeks is in it only since it was "
    "bought five times in them. Claims rest on the targets that were known before the cut."
)


def one_moment_notes(n_without_history: int) -> tuple[str, str]:
    """What is said beside every table of a split by one moment.

    Args:
        n_without_history: Interactions of the part that are the first of their user.
    """
    return (
        FRESHNESS_NOTE,
        f"{n_without_history:,} interactions of the test part are the first of their user: without "
        f"a history they are no targets.",
    )


GROUP_NOTE = (
    "head: the fifth of the items most frequent in training; tail: the least frequent half. new: "
    "not in training. cold: nobody had interacted with the target before the request. tie: the "
    "target has the time of the interaction before it; gap: the time "
    "since that one, ties left out."
)


def group_masks(ranks: Ranks) -> dict[str, Array]:
    """Which targets belong to each group.

    Args:
        ranks: Columns of ``test_ranks.npz``.

    Returns:
        By the group's name, in the order of :data:`GROUP_NAMES`. Shape ``[S]``, bool.
    """
    masks: dict[str, Array] = {}
    for grouping in GROUPINGS:
        numbers = grouping.number(ranks)
        masks |= {name: numbers == number for number, name in enumerate(grouping.names)}
    return masks


def telling(sizes: Mapping[str, int]) -> Iterator[tuple[Grouping, tuple[int, ...]]]:
    """The groupings that tell targets apart, each with its groups that have a target.

    A grouping of one such group repeats the mean of all targets, and is left out.

    Args:
        sizes: Targets by name of the group.
    """
    for grouping in GROUPINGS:
        present = tuple(k for k, name in enumerate(grouping.names) if sizes.get(name, 0))
        if len(present) > 1:
            yield grouping, present


def is_small(ranks: Ranks, mask: Array) -> bool:
    """Whether a group has fewer than :data:`SMALL` users, however many targets."""
    return len(np.unique(ranks["user"][mask])) < SMALL
