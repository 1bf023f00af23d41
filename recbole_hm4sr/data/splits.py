"""Splits of a log: each part is the positions of its targets.

Leave-one-out and the split by ratio take each user's last interactions, whenever they were: the
model is trained on what others did later. A split by one moment ends the training part at the same
time for everybody, and evaluates on what came after it, as a shop does that trains today and serves
next week.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.log import Array, InteractionLog

TargetChoice = Literal["first", "last", "all", "visits"]
LeaveOneOut = Literal["valid_and_test", "valid_only", "test_only"]
Parts = tuple[Array, Array, Array]

# The part that each of a user's last targets goes to, the very last first; the rest is training.
_HELD_OUT: dict[str, tuple[int, ...]] = {
    "valid_and_test": (2, 1),
    "valid_only": (1,),
    "test_only": (2,),
}


@dataclass(frozen=True)
class Split:
    """Targets of the training, validation and test part.

    Attributes:
        samples: Indices of all targets in the log, in the order in which RecBole keeps them: by
            time, but for a split by one moment. What it draws by popularity depends on it. Int64.
        parts: Indices of the targets of each part, in the order of its samples. Int64.
        cuts: The first moment of the validation part, and of the test part, in the unit of the
            times; an interaction at a cut belongs to the later part. None where the parts of a
            user end by its own interactions.
        without_history: Interactions of each part that would be targets, but are the first of
            their user: there is nothing to recommend from.
    """

    samples: Array
    parts: Parts
    cuts: tuple[int, int] | None = None
    without_history: tuple[int, int, int] = (0, 0, 0)


def split_log(
    log: InteractionLog, arguments: Mapping[str, Any], *, same_visit_gap: int = 0
) -> Split:
    """Split a log as ``eval_args`` says.

    Args:
        log: All interactions.
        arguments: ``eval_args``, checked by ``config.evaluation_rules``.
        same_visit_gap: The longest time between two interactions of one visit, in the unit of the
            times.
    """
    ((kind, value),) = arguments["split"].items()
    if kind == "LS":
        return leave_one_out(log, value)
    if kind == "GT":
        return split_by_moment(
            log,
            shares=tuple(value),
            targets=arguments["targets"],
            same_visit_gap=same_visit_gap,
        )
    if kind == "TS":
        return split_by_moment_and_ratio(log, tuple(value))
    return split_by_ratio(log, tuple(value), by_user=arguments["group_by"] == "user")


def require_samples(split: Split, rule: Mapping[str, Any], place: str) -> None:
    """Refuse a split that leaves a part empty that its rule asks for.

    Shares say themselves whether a part may be empty; a run refuses those that leave one.

    Args:
        split: The split.
        rule: ``eval_args.split``.
        place: Folder of the data set, for the message.

    Raises:
        DataError: If it does.
    """
    ((kind, value),) = rule.items()
    wanted = [0, *sorted(_HELD_OUT[value])] if kind == "LS" else [0, 1, 2]
    sizes = [len(split.parts[number]) for number in wanted]
    shown = " / ".join(map(str, sizes))
    if kind == "LS" and not all(sizes):
        raise DataError(
            f"{place}: the split {value} must leave samples in every part, got {shown}; at least "
            f"one user needs {len(wanted) + 1} interactions"
        )
    if kind == "GT" and not all(sizes):
        raise DataError(
            f"{place}: the split GT must leave targets with a history in every part, got {shown}; "
            f"give the empty part a larger share"
        )


# --- each user's last interactions --------------------------------------------------------------


@dataclass(frozen=True)
class _Grouped:
    """Targets in the order in which RecBole splits them.

    Sorted by time, then brought together by user; users come in the order of their first target.

    Attributes:
        samples: Indices in the log, sorted by time alone. Shape ``[S]``, int64.
        targets: Indices in the log. Shape ``[S]``, int64.
        rank: How many targets of the same user come before. Shape ``[S]``, int64.
        count: How many targets the user has. Shape ``[S]``, int64.
    """

    samples: Array
    targets: Array
    rank: Array
    count: Array

    def split(self, numbers: Array) -> Split:
        """The split that puts each target into the part of a number. Shape ``[S]``."""
        train, valid, test = (self.targets[numbers == part] for part in range(3))
        return Split(self.samples, (train, valid, test))


def _by_time(log: InteractionLog) -> Array:
    targets = log.targets()
    return targets[np.argsort(log.times[targets], kind="stable")]


def _group(log: InteractionLog) -> _Grouped:
    samples = _by_time(log)
    users = log.users[samples]
    first = np.empty(len(log.offsets), dtype=np.int64)
    # Of several values for one user the last stays: the earliest, since they come backwards.
    first[users[::-1]] = np.arange(len(users))[::-1]
    targets = samples[np.argsort(first[users], kind="stable")]
    users = log.users[targets]
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    counts = np.diff(begins, append=len(users))
    rank = np.arange(len(users)) - np.repeat(begins, counts)
    return _Grouped(samples, targets, rank, np.repeat(counts, counts))


def leave_one_out(log: InteractionLog, mode: LeaveOneOut) -> Split:
    """Hold out each user's last targets, one for a part.

    A user with too few targets for all parts gives its last one to the last part, and keeps at
    least one for training.

    Args:
        log: All interactions.
        mode: Which parts there are beside training.
    """
    grouped = _group(log)
    left = grouped.count - 1 - grouped.rank  # targets of the user that follow
    part = np.zeros(len(left), dtype=np.int64)
    for back, number in enumerate(_HELD_OUT[mode]):
        part[(left == back) & (grouped.rank > 0)] = number
    return grouped.split(part)


def split_by_ratio(
    log: InteractionLog, shares: tuple[float, float, float], *, by_user: bool
) -> Split:
    """Split targets by shares: each user's, or all of them in the order of time.

    A part of less than one target gets one, as long as two are left for training.

    Args:
        log: All interactions.
        shares: Of training, validation and test; 0 or more, with a positive sum.
        by_user: Whether to split each user's targets.
    """
    if by_user:
        grouped = _group(log)
    else:
        targets = _by_time(log)
        size = len(targets)
        grouped = _Grouped(targets, targets, np.arange(size), np.full(size, size))
    total = sum(shares)
    count = grouped.count
    sizes = [(share / total * count).astype(np.int64) for share in shares]
    sizes[0] = count - sizes[1] - sizes[2]
    for number in (2, 1):
        expected = shares[number] / total * count
        more = (sizes[0] > 1) & (expected > 0) & (expected < 1)
        sizes[number] = sizes[number] + more
        sizes[0] = sizes[0] - more
    part = (grouped.rank >= sizes[0]).astype(np.int64) + (grouped.rank >= sizes[0] + sizes[1])
    return grouped.split(part)


def split_by_moment_and_ratio(log: InteractionLog, shares: tuple[float, float, float]) -> Split:
    """RecBole's ``TS``: test what comes after one moment, split each user's rest by ratio.

    Args:
        log: All interactions.
        shares: Of training, validation and test.
    """
    grouped = _group(log)
    train, _, test = (share / sum(shares) for share in shares)
    times = log.times[grouped.targets]
    is_test = times > (np.percentile(times, 100 * (1 - test)) if len(times) else 0)
    # A user's targets are in the order of time, so those before the moment come first.
    firsts = np.flatnonzero(grouped.rank == 0)
    before = np.add.reduceat(~is_test, firsts, dtype=np.int64)
    n_train = (before * (train / (1 - test) if test < 1 else 0)).astype(np.int64)
    is_valid = grouped.rank >= np.repeat(n_train, grouped.count[firsts])
    return grouped.split(np.where(is_test, 2, is_valid))


# --- one moment for all users -------------------------------------------------------------------


def find_cuts(times: Array, shares: tuple[float, float, float]) -> tuple[int, int]:
    """The moments that divide all interactions into three parts.

    At most the first share of the interactions lies before the first cut, at most the first and the
    second before the second; interactions of one moment stay together.

    Args:
        times: Times of all interactions. Shape ``[N]``, int64, N at least 1.
        shares: Of training, validation and test; 0 or more, with a positive sum.

    Returns:
        The first moments of validation and test.

    Example:
        >>> find_cuts(np.array([5, 1, 2, 3, 3, 4, 6, 7, 8, 9]), (0.4, 0.3, 0.3))
        (4, 7)
    """
    ordered = np.sort(times)
    before = np.cumsum(shares)[:2] / sum(shares)
    # Rounded first: 0.7 of 10 interactions is 7, though 0.7 is a little less in binary.
    places = np.floor(np.round(before * len(ordered), 9)).astype(np.int64)
    first, second = ordered[np.minimum(places, len(ordered) - 1)].tolist()
    return first, second


def split_by_moment(
    log: InteractionLog,
    *,
    shares: tuple[float, float, float],
    targets: TargetChoice,
    same_visit_gap: int = 0,
) -> Split:
    """Divide interactions at two moments and choose the targets of the two later parts.

    Every interaction before the first cut that has a predecessor is a target of the training part.
    A target of a later part has the user's whole history before it, interactions after the cut
    included.

    Args:
        log: All interactions.
        shares: Of training, validation and test.
        targets: Which interactions of a user are targets in the later parts: the ``first`` of each
            part, the ``last``, ``all``, or the first of every one of the user's ``visits``.
        same_visit_gap: The longest time between two interactions of one visit, in the unit of the
            times.
    """
    cuts = find_cuts(log.times, shares)
    part = np.searchsorted(np.array(cuts), log.times, side="right")  # 0, 1 or 2: [N]
    begins = np.arange(len(log)) == log.starts  # the first interaction of its user
    chosen = (part == 0) | _CHOICES[targets](log, begins, part, same_visit_gap)
    inside = [chosen & (part == number) for number in range(3)]
    train, valid, test = (np.flatnonzero(flags & ~begins) for flags in inside)
    missing = tuple(int((flags & begins).sum()) for flags in inside)
    return Split(log.targets(), (train, valid, test), cuts, missing)  # type: ignore[arg-type]


def _all(_log: InteractionLog, begins: Array, _part: Array, _gap: int) -> Array:
    return np.ones_like(begins)


def _visits(log: InteractionLog, begins: Array, _part: Array, gap: int) -> Array:
    return begins | (np.diff(log.times, prepend=log.times[:1]) > gap)


def _enters(begins: Array, part: Array) -> Array:
    return begins | (np.diff(part, prepend=part[:1]) > 0)


def _first(_log: InteractionLog, begins: Array, part: Array, _gap: int) -> Array:
    # A user who begins in the part has no history yet: the second interaction is the target.
    return _enters(begins, part) | np.roll(begins, 1)


def _last(_log: InteractionLog, begins: Array, part: Array, _gap: int) -> Array:
    return np.roll(_enters(begins, part), -1)


# Which interactions a choice names, whatever their part. Shape ``[N]``, bool.
_CHOICES: dict[str, Callable[[InteractionLog, Array, Array, int], Array]] = {
    "first": _first,
    "last": _last,
    "all": _all,
    "visits": _visits,
}
