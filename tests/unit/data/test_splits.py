"""Splits at one moment for all users, against loops over users in plain Python."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_hm4sr.data.histories import group_histories
from recbole_hm4sr.data.splits import find_cuts, split_by_moment

BEAUTY = Path(__file__).parents[4] / "shared" / "datasets" / "beauty" / "beauty.inter"
SHARES = (0.5, 0.2, 0.3)


def make(seed=0, n_users=30, n=300):
    """Interactions ordered by user and time, many of equal time."""
    random = np.random.default_rng(seed)
    users = np.sort(random.integers(0, n_users, n))
    times = random.integers(0, 60, n)
    order = np.lexsort((times, users))
    columns = {"user": torch.from_numpy(users), "time": torch.from_numpy(times[order])}
    return group_histories(columns, user_field="user"), columns["time"]


def expected(histories, times, targets, gap):
    """Targets of each part and interactions without history, user by user."""
    ordered = sorted(times.tolist())
    n = len(ordered)
    cuts = [ordered[int(n * 0.5)], ordered[int(n * 0.7 + 1e-9)]]
    parts, missing = [[], [], []], [0, 0, 0]
    for start in sorted(set(histories.starts.tolist())):
        mine = [p for p in range(n) if histories.starts[p] == start]
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
        histories, times = make(seed)
        split = split_by_moment(
            histories, times, shares=SHARES, targets=targets, same_visit_gap=gap
        )
        cuts, parts, missing = expected(histories, times, targets, gap)
        assert list(split.cuts) == cuts
        assert [part.tolist() for part in split.parts] == parts
        assert list(split.without_history) == missing


def test_equal_times_stay_on_one_side_of_a_cut():
    histories, times = make()
    split = split_by_moment(histories, times, shares=SHARES, targets="all")
    train, valid, test = (times[part] for part in split.parts)
    assert train.max() < split.cuts[0] <= valid.min()
    assert valid.max() < split.cuts[1] <= test.min()
    assert (times < split.cuts[0]).double().mean() <= 0.5


def test_a_part_of_no_share_is_empty():
    assert find_cuts(torch.arange(10), (0.8, 0.0, 0.2)) == (8, 8)
    histories, times = make()
    split = split_by_moment(histories, times, shares=(0.8, 0.0, 0.2), targets="all")
    assert len(split.parts[1]) == 0


@pytest.mark.skipif(not BEAUTY.is_file(), reason="the Beauty set does not lie beside the checkout")
def test_the_last_tenth_of_amazon_beauty():
    """The numbers are of a count in pandas: 20,147 interactions, 3,206 of 142 new items."""
    frame = pd.read_csv(BEAUTY, sep="\t", names=["user", "item", "time"], header=0)
    users, items = (pd.factorize(frame[name])[0] for name in ("user", "item"))
    times = frame["time"].to_numpy(dtype=np.int64)
    order = np.lexsort((times, users))
    columns = {
        "user": torch.from_numpy(users[order]),
        "item": torch.from_numpy(items[order]),
        "time": torch.from_numpy(times[order]),
    }
    histories = group_histories(columns, user_field="user")
    shares = (0.8, 0.1, 0.1)
    every = split_by_moment(histories, columns["time"], shares=shares, targets="all")
    assert len(every.parts[2]) + every.without_history[2] == 20_147
    later = columns["time"] >= every.cuts[1]
    known = torch.zeros(items.max() + 1, dtype=torch.bool)
    known[columns["item"][~later]] = True
    new = columns["item"][later & ~known[columns["item"]]]
    assert (len(new), len(new.unique())) == (3_206, 142)
    visits = split_by_moment(histories, columns["time"], shares=shares, targets="visits")
    assert len(visits.parts[2]) == 10_736
