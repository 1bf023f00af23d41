"""Splits at one moment for all users, against loops over users in plain Python."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from logs import log_of

from recbole_hm4sr.data.splits import (
    find_cuts,
    leave_one_out,
    split_by_moment,
    split_by_moment_and_ratio,
    split_by_ratio,
)

BEAUTY = Path(__file__).parents[4] / "shared" / "datasets" / "beauty" / "beauty.inter"
SHARES = (0.5, 0.2, 0.3)


def make(seed=0, n_users=30, n=300):
    """Interactions in no order, many of equal time."""
    random = np.random.default_rng(seed)
    return log_of(random.integers(0, n_users, n), random.integers(0, 60, n))


def expected(log, targets, gap):
    """Targets of each part and interactions without history, user by user."""
    times = log.times
    ordered = sorted(times.tolist())
    n = len(ordered)
    cuts = [ordered[int(n * 0.5)], ordered[int(n * 0.7 + 1e-9)]]
    parts, missing = [[], [], []], [0, 0, 0]
    for start in sorted(set(log.starts.tolist())):
        mine = [p for p in range(n) if log.starts[p] == start]
        part_of = {p: sum(int(times[p]) >= cut for cut in cuts) for p in mine}
        for number in range(3):
            inside = [p for p in mine if part_of[p] == number]
            if number and targets == "first":
                usable = [p for p in inside if p != start]
                missing[number] += start in inside
                inside = usable[:1]
            elif number and targets == "last":
                inside = inside[-1:]
            elif number and targets == "visits":
                inside = [p for p in inside if p == start or times[p] - times[p - 1] > gap]
            if not (number and targets == "first"):
                missing[number] += start in inside
            parts[number] += [p for p in inside if p != start]
    return cuts, parts, missing


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("targets", ["first", "last", "all", "visits"])
def test_parts_are_those_of_a_loop_over_users(targets, gap):
    for seed in range(4):
        log = make(seed)
        split = split_by_moment(log, shares=SHARES, targets=targets, same_visit_gap=gap)
        cuts, parts, missing = expected(log, targets, gap)
        assert list(split.cuts) == cuts
        assert [part.tolist() for part in split.parts] == parts
        assert list(split.without_history) == missing


def test_equal_times_stay_on_one_side_of_a_cut():
    log = make()
    split = split_by_moment(log, shares=SHARES, targets="all")
    train, valid, test = (log.times[part] for part in split.parts)
    assert train.max() < split.cuts[0] <= valid.min()
    assert valid.max() < split.cuts[1] <= test.min()
    assert (log.times < split.cuts[0]).mean() <= 0.5


def test_a_part_of_no_share_is_empty():
    assert find_cuts(np.arange(10), (0.8, 0.0, 0.2)) == (8, 8)
    split = split_by_moment(make(), shares=(0.8, 0.0, 0.2), targets="all")
    assert len(split.parts[1]) == 0


# --- each user's last interactions ---------------------------------------------------------------


def in_groups(log):
    """Each user's targets by time; users in the order of their first target."""
    targets = [place for place in range(len(log)) if place > log.starts[place]]
    groups = {}
    for place in sorted(targets, key=lambda place: log.times[place]):
        groups.setdefault(int(log.users[place]), []).append(place)
    return list(groups.values())


@pytest.mark.parametrize("mode", ["valid_and_test", "valid_only", "test_only"])
def test_each_user_s_last_targets_are_held_out(mode):
    for seed in range(4):
        log = make(seed, n_users=90)
        parts = [[], [], []]
        held = {"valid_and_test": (2, 1), "valid_only": (1,), "test_only": (2,)}[mode]
        for group in in_groups(log):
            taken = min(len(held), len(group) - 1)
            parts[0] += group[: len(group) - taken]
            for back in range(taken):
                parts[held[back]].append(group[-1 - back])
        assert [part.tolist() for part in leave_one_out(log, mode).parts] == parts


def test_a_user_of_few_targets_keeps_one_for_training_and_gives_one_to_the_last_part():
    # One, two and three targets, in the order of time: positions 1 | 3, 4 | 6, 7, 8.
    log = log_of([1, 1, 2, 2, 2, 3, 3, 3, 3], range(9))
    assert [part.tolist() for part in leave_one_out(log, "valid_and_test").parts] == [
        [1, 3, 6], [7], [4, 8]
    ]  # fmt: skip


def sizes_by_ratio(n, shares):
    """RecBole's rule: rounded down, but a part of less than one gets one while two are left."""
    shares = [share / sum(shares) for share in shares]
    sizes = [int(share * n) for share in shares]
    sizes[0] = n - sizes[1] - sizes[2]
    for part in (2, 1):
        if sizes[0] > 1 and 0 < shares[part] * n < 1:
            sizes[part], sizes[0] = sizes[part] + 1, sizes[0] - 1
    return sizes


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (6, 2, 2), (0, 1, 1), (0.7, 0.3, 0)])
@pytest.mark.parametrize("by_user", [True, False])
def test_targets_are_split_by_ratio(shares, by_user):
    for seed in range(4):
        log = make(seed, n_users=40)
        parts = [[], [], []]
        groups = in_groups(log)
        if not by_user:
            flat = [place for group in sorted(groups, key=lambda g: log.users[g[0]])
                    for place in sorted(group)]  # fmt: skip
            groups = [sorted(flat, key=lambda place: log.times[place])]
        for group in groups:
            begin = 0
            for part, size in zip(parts, sizes_by_ratio(len(group), shares), strict=True):
                part += group[begin : begin + size]
                begin += size
        split = split_by_ratio(log, shares, by_user=by_user)
        assert [part.tolist() for part in split.parts] == parts


def test_one_moment_for_the_test_part_and_ratios_before_it():
    log = make(3, n_users=40)
    targets = log.targets()
    moment = np.percentile(log.times[targets], 70)
    parts = [[], [], []]
    for group in in_groups(log):
        before = [place for place in group if log.times[place] <= moment]
        n_train = int(len(before) * (0.5 / (1 - 0.3)))
        parts[0] += before[:n_train]
        parts[1] += before[n_train:]
        parts[2] += group[len(before) :]
    split = split_by_moment_and_ratio(log, SHARES)
    assert [part.tolist() for part in split.parts] == parts


@pytest.mark.parametrize(
    "split",
    [
        lambda log: leave_one_out(log, "valid_and_test"),
        lambda log: split_by_ratio(log, SHARES, by_user=True),
        lambda log: split_by_ratio(log, SHARES, by_user=False),
        lambda log: split_by_moment_and_ratio(log, SHARES),
    ],
)
def test_users_of_one_interaction_have_no_targets(split):
    assert [part.tolist() for part in split(log_of([1, 2, 3], [5, 6, 7])).parts] == [[], [], []]


# --- real interactions ---------------------------------------------------------------------------


@pytest.mark.skipif(not BEAUTY.is_file(), reason="the Beauty set does not lie beside the checkout")
def test_the_last_tenth_of_amazon_beauty():
    """Against plain NumPy; the issue of the split counted 20,147, and 3,206 of 142 new items."""
    frame = pd.read_csv(BEAUTY, sep="\t", names=["user", "item", "time"], header=0)
    users, items = (pd.factorize(frame[name])[0] for name in ("user", "item"))
    times = frame["time"].to_numpy(dtype=np.int64)
    cut = np.sort(times)[int(0.9 * len(times))]
    later = times >= cut
    new = items[later & ~np.isin(items, items[~later])]
    assert (later.sum(), len(new), len(np.unique(new))) == (20_147, 3_206, 142)
    # A user who begins after the cut has one interaction without a history.
    beginners = np.setdiff1d(users[later], users[~later])
    assert len(beginners) == 603

    log = log_of(users, times, items)
    shares = (0.8, 0.1, 0.1)
    every = split_by_moment(log, shares=shares, targets="all")
    assert every.cuts[1] == cut
    assert every.without_history[2] == 603
    assert len(every.parts[2]) == 20_147 - 603
    visits = split_by_moment(log, shares=shares, targets="visits")
    assert len(visits.parts[2]) == 10_736
    first, last = (split_by_moment(log, shares=shares, targets=name) for name in ("first", "last"))
    assert len(np.unique(users[later])) - len(last.parts[2]) == last.without_history[2]
    assert len(np.unique(log.users[first.parts[2]])) == len(first.parts[2])
