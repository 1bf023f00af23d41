"""Numbers of interactions and of their split, from flat arrays.

Everything here is a few sorts and counts over integer arrays: twenty million interactions need
some hundred megabytes beside the arrays themselves.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_hm4sr.data.times import PER_SECOND, exact_seconds, whole_seconds

Array = np.ndarray[Any, Any]
DAY = 86400
QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)
_LENGTH_EDGES = (1, 2, 3, 4, 5, 6, 11, 21, 51, 101, 201)
_N_TIME_BINS = 40


@dataclass(frozen=True)
class Log:
    """Interactions in the order of (user, time, file). Arrays of shape ``[N]``.

    Attributes:
        users: Number of the user.
        items: Number of the item.
        times: In ``unit`` since the epoch; int64.
        unit: ``s`` or ``ms``.
    """

    users: Array
    items: Array
    times: Array
    unit: str = "s"


@dataclass(frozen=True)
class FileFacts:
    """What the interaction file holds, before any filter.

    Attributes:
        n_users: Users.
        n_items: Items.
        n_interactions: Lines.
        n_same_rows: Lines that repeat the user, item and time of an earlier line.
        n_repeats: Lines that repeat a user and item of an earlier line at another time.
        n_ties: Neighbours in a history with equal times and different items.
        ascending_ties: Share of these whose second item's name sorts after the first's: near one
            half unless the file is sorted by item.
    """

    n_users: int
    n_items: int
    n_interactions: int
    n_same_rows: int
    n_repeats: int
    n_ties: int
    ascending_ties: float


@dataclass(frozen=True)
class InteractionFacts:
    """Interactions as a run sees them.

    Attributes:
        n_users: Users.
        n_items: Items.
        n_interactions: Interactions.
        first: Earliest time, in whole seconds since the epoch, as all moments here.
        last: Latest time.
        midnight_share: Share of times at midnight UTC.
        silence: Begin and end of the longest time without an interaction of anybody.
        gaps: Quantiles of the seconds between neighbours in a history; zeros without neighbours.
        zero_gaps: Share of these gaps that are zero.
        lengths: Quantiles of the users' number of interactions.
        mean_length: Mean of it.
        length_bins: Shortest length of a bin and the users in it; the last is open.
        n_short: Users with fewer than three interactions, too few for a test.
        n_long: Users whose history is longer than a model sees.
        popularity: Quantiles of the items' number of interactions.
        head_share: Share of the interactions that the most frequent fifth of the items has.
        time_bins: Begin of each of equal stretches of time and the interactions in it.
    """

    n_users: int
    n_items: int
    n_interactions: int
    first: int
    last: int
    midnight_share: float
    silence: tuple[int, int]
    gaps: tuple[float, ...]
    zero_gaps: float
    lengths: tuple[float, ...]
    mean_length: float
    length_bins: tuple[tuple[int, int], ...]
    n_short: int
    n_long: int
    popularity: tuple[float, ...]
    head_share: float
    time_bins: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LeakageFacts:
    """What leave-one-out does to the test targets.

    Attributes:
        n_targets: Test targets.
        n_first_seen_later: Targets whose item the training part has only after the target's time.
        n_unseen: Targets whose item the training part does not have.
        later_training: Share of the training interactions that are later than a target, mean.
        n_tied: Targets at the very time of the last item before them.
        mean_tied: Items before such a target at its time, mean.
        ascending_ties: Share of such targets whose name sorts after that of the item before.
        n_repeated: Targets that are among the seen items of the user.
        n_repeated_last: Targets that repeat the item just before them.
        n_same_row: Targets that repeat an earlier interaction, its time included.
    """

    n_targets: int
    n_first_seen_later: int
    n_unseen: int
    later_training: float
    n_tied: int
    mean_tied: float
    ascending_ties: float
    n_repeated: int
    n_repeated_last: int
    n_same_row: int


def order_log(users: Array, items: Array, times: Array, *, unit: str = "s") -> Log:
    """Interactions in file order, put in the order of (user, time, file)."""
    order = np.lexsort((times, users))  # stable: equal times keep the file's order
    return Log(users[order], items[order], times[order], unit)


def earlier_flags(log: Log) -> tuple[Array, Array]:
    """Whether the user took the item before, and whether at the same time. Each ``[N]``, bool."""
    order = np.lexsort((log.items, log.users))  # stable: in a group the times ascend
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (np.diff(log.users[order]) == 0) & (np.diff(log.items[order]) == 0)
    same = again.copy()
    same[1:] &= np.diff(log.times[order]) == 0
    repeated, same_row = np.empty_like(again), np.empty_like(same)
    repeated[order], same_row[order] = again, same
    return repeated, same_row


def file_facts(log: Log, name_ranks: Array) -> FileFacts:
    """Counts, duplicates and the order of ties.

    Args:
        log: All interactions of the file.
        name_ranks: Place of each item number in the order of names.
    """
    repeated, same_row = earlier_flags(log)
    tied = (np.diff(log.users) == 0) & (np.diff(log.times) == 0) & (np.diff(log.items) != 0)
    steps = np.diff(name_ranks[log.items])[tied]
    return FileFacts(
        n_users=len(np.unique(log.users)),
        n_items=len(np.unique(log.items)),
        n_interactions=len(log.users),
        n_same_rows=int(same_row.sum()),
        n_repeats=int((repeated & ~same_row).sum()),
        n_ties=len(steps),
        ascending_ties=share(int((steps > 0).sum()), len(steps)),
    )


def interaction_facts(log: Log, *, max_length: int) -> InteractionFacts:
    """Counts, times, gaps and distributions.

    Args:
        log: At least one interaction.
        max_length: The most interactions before a target that a model sees.
    """
    inner = np.diff(log.users) == 0
    gaps = exact_seconds(np.diff(log.times)[inner], log.unit)
    _, lengths = np.unique(log.users, return_counts=True)
    _, counts = np.unique(log.items, return_counts=True)
    ordered = np.sort(whole_seconds(log.times, log.unit))
    day = DAY * PER_SECOND[log.unit]
    quiet = int(np.argmax(np.diff(ordered))) if len(ordered) > 1 else 0
    head = np.sort(counts)[::-1][: max(1, len(counts) // 5)]
    places = np.searchsorted(_LENGTH_EDGES, lengths, side="right") - 1
    bins = np.bincount(places, minlength=len(_LENGTH_EDGES))
    return InteractionFacts(
        n_users=len(lengths),
        n_items=len(counts),
        n_interactions=len(log.users),
        first=int(ordered[0]),
        last=int(ordered[-1]),
        midnight_share=share(int((log.times % day == 0).sum()), len(log.times)),
        silence=(int(ordered[quiet]), int(ordered[min(quiet + 1, len(ordered) - 1)])),
        gaps=_quantiles(gaps),
        zero_gaps=share(int((gaps == 0).sum()), len(gaps)),
        lengths=_quantiles(lengths),
        mean_length=float(lengths.mean()),
        length_bins=tuple(zip(_LENGTH_EDGES, bins.tolist(), strict=True)),
        n_short=int((lengths < 3).sum()),
        # The last interaction is a target only.
        n_long=int((lengths - 1 > max_length).sum()),
        popularity=_quantiles(counts),
        head_share=share(int(head.sum()), len(log.users)),
        time_bins=_time_bins(ordered),
    )


def leakage_facts(log: Log, targets: Array, in_training: Array, name_ranks: Array) -> LeakageFacts:
    """What the split does to the test targets.

    Args:
        log: Interactions.
        targets: Positions of the test targets; each has an earlier interaction of its user.
        in_training: Whether the training part shows an interaction. Shape ``[N]``, bool.
        name_ranks: Place of each item number in the order of names.
    """
    never = np.iinfo(np.int64).max
    first_seen = np.full(int(log.items.max()) + 1, never)
    np.minimum.at(first_seen, log.items[in_training], log.times[in_training])
    first = first_seen[log.items[targets]]
    times = log.times[targets]
    training = np.sort(log.times[in_training])
    later = len(training) - np.searchsorted(training, times, side="right")
    repeated, same_row = earlier_flags(log)
    fresh = np.ones(len(log.users), dtype=bool)
    fresh[1:] = (np.diff(log.users) != 0) | (np.diff(log.times) != 0)
    run_starts = np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))
    n_before = targets - run_starts[targets]
    steps = (name_ranks[log.items[targets]] - name_ranks[log.items[targets - 1]])[n_before > 0]
    return LeakageFacts(
        n_targets=len(targets),
        n_first_seen_later=int(((first > times) & (first != never)).sum()),
        n_unseen=int((first == never).sum()),
        later_training=share(float(later.sum()), len(training) * len(targets)),
        n_tied=int((n_before > 0).sum()),
        mean_tied=share(float(n_before.sum()), int((n_before > 0).sum())),
        ascending_ties=share(int((steps > 0).sum()), len(steps)),
        n_repeated=int(repeated[targets].sum()),
        n_repeated_last=int((log.items[targets] == log.items[targets - 1]).sum()),
        n_same_row=int(same_row[targets].sum()),
    )


def rank_names(names: Array) -> Array:
    """Place of each name in their order: numbers by value, other names by letters."""
    digits = all(str(name).isdecimal() for name in names)
    keys = np.array([int(name) for name in names], dtype=object) if digits else names
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.argsort(keys, kind="stable")] = np.arange(len(names))
    return ranks


def share(part: float, whole: float) -> float:
    """A part of a whole; zero of nothing."""
    return part / whole if whole else 0.0


def _quantiles(values: Array) -> tuple[float, ...]:
    if not len(values):
        return (0.0,) * len(QUANTILES)
    return tuple(float(value) for value in np.quantile(values, QUANTILES, method="lower"))


def _time_bins(ordered: Array) -> tuple[tuple[int, int], ...]:
    """Equal stretches of whole seconds from the first time to the last."""
    first, last = int(ordered[0]), int(ordered[-1])
    n_bins = min(_N_TIME_BINS, last - first + 1)
    edges = [first + (last + 1 - first) * place // n_bins for place in range(n_bins + 1)]
    counts = np.diff(np.searchsorted(ordered, edges, side="left"))
    return tuple(zip(edges[:-1], counts.tolist(), strict=True))
