"""Interactions in several parts make the events, times and last items of all at once."""

import itertools

import numpy as np
import pytest

from recbole_hm4sr.data.event_files import add_items, merge_events, merge_times
from recbole_hm4sr.data.events import (
    EventRuns,
    Interactions,
    join_pieces,
    sort_events,
    times_of_items,
)
from recbole_hm4sr.data.refresh_state import NewRows, RefreshState, keep_newest
from recbole_hm4sr.data.visits import number_visits

REACH, GAP, KEEP = 4, 1, 10


def draw(seed, n=300, n_users=8, n_items=12):
    """Rows in the order of time, with equal times and repeats; users and items come one by one."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(60, size=n))
    # The later, the more users and items there are.
    users = 1 + random.integers(1 + np.arange(n) * n_users // n)
    items = 1 + random.integers(1 + np.arange(n) * n_items // n)
    return NewRows(users, items, times)


def by_user(rows):
    order = np.lexsort((rows.times, rows.users))
    return NewRows(*(column[order] for column in rows))


def tokens_of(n_users):
    return np.array(["[PAD]", *(f"u{user}" for user in range(1, n_users + 1))])


def all_at_once(rows):
    rows = by_user(rows)
    n_items, n_users = int(rows.items.max()) + 1, int(rows.users.max())
    starts = np.searchsorted(rows.users, rows.users)
    visits = number_visits(rows.times, starts, gap=GAP)
    log = Interactions(rows.items, rows.times, starts, visits)
    state = keep_newest(
        *rows,
        positions=np.bincount(rows.users, minlength=n_users + 1),
        tokens=tokens_of(n_users),
        keep=KEEP,
    )
    runs = sort_events(log, n_items=n_items, reach=REACH)
    return state, runs, times_of_items(rows.items, rows.times, n_items=n_items)


def refreshed(state, runs, taken, rows):
    rows = by_user(rows)
    n_items = max(len(taken.starts) - 1, int(rows.items.max()) + 1)
    n_users = max(len(state.users) - 1, int(rows.users.max()))
    runs = EventRuns(
        runs.others, runs.distances, runs.times, add_items(runs.starts, n_items, n_tables=4)
    )
    taken = type(taken)(taken.times, add_items(taken.starts, n_items))
    new = sort_events(state.new_log(rows, gap=GAP), n_items=n_items, reach=REACH)
    counts = np.diff(runs.starts) + np.diff(new.starts)
    return (
        state.extended(rows, tokens_of(n_users), keep=KEEP),
        join_pieces(merge_events(runs, new, most=50), counts),
        merge_times(taken, rows.items, rows.times),
    )


@pytest.mark.parametrize("seed", range(6))
def test_parts_one_after_another_are_the_whole(seed):
    rows = draw(seed)
    bounds = [0, 100, 101, 180, 300]
    parts = [
        NewRows(*(column[begin:end] for column in rows))
        for begin, end in itertools.pairwise(bounds)
    ]
    found = all_at_once(parts[0])
    for part in parts[1:]:
        assert not found[0].sort_out(part)[1].any()  # the parts are in the order of time
        found = refreshed(*found, part)
    for got, expected in zip(found, all_at_once(rows), strict=True):
        for name, values in vars(expected).items():
            assert getattr(got, name).dtype == values.dtype, name
            np.testing.assert_array_equal(getattr(got, name), values, err_msg=name)


@pytest.fixture
def state():
    """Users 1 and 2, of whom the first has eleven interactions; the last ten are kept."""
    users = np.array([1] * 11 + [2])
    rows = NewRows(users, np.arange(1, 13), np.array([*range(10, 21), 15]))
    return keep_newest(
        *rows, positions=np.bincount(users), tokens=np.array(["[PAD]", "u1", "u2"]), keep=KEEP
    )


def test_the_last_ten_and_the_position_of_each_user_are_kept(state):
    np.testing.assert_array_equal(state.positions, [0, 11, 1])
    np.testing.assert_array_equal(state.offsets, [0, 0, 10, 11])
    np.testing.assert_array_equal(state.items, range(2, 13))
    np.testing.assert_array_equal(state.times, [*range(11, 21), 15])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((1, 11, 20), "kept"),  # user, item, time: as it was
        ((1, 2, 11), "kept"),  # the oldest of the ten
        ((1, 1, 10), "late"),  # equal to the eleventh, which is not kept
        ((1, 3, 11), "late"),  # another item at the time of a kept one
        ((1, 10, 20), "new"),  # at the newest time
        ((1, 11, 21), "new"),
        ((2, 5, 16), "new"),  # older than others' newest, not than its own user's
        ((3, 5, 0), "new"),  # a new user
    ],
)
def test_a_row_is_set_against_its_own_user(state, row, expected):
    rows = NewRows(*(np.array([value, value]) for value in row))
    is_kept, is_late = state.sort_out(rows)
    assert is_kept.tolist() == [expected == "kept"] * 2
    assert is_late.tolist() == [expected == "late"] * 2


def test_state_of_no_user_takes_all():
    empty = np.zeros(0, dtype=np.int64)
    state = RefreshState(
        np.array(["[PAD]"]), np.zeros(1, np.int64), np.zeros(2, np.int64), empty, empty
    )
    is_kept, is_late = state.sort_out(NewRows(*(np.array([1]) for _ in range(3))))
    assert (is_kept.tolist(), is_late.tolist()) == ([False], [False])
