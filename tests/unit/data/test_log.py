"""Interactions as a value: their order, and what a part shows of them."""

import numpy as np
from logs import log_of, put_in_order

from recbole_hm4sr.data.log import longest_gap, order_interactions, shown_interactions


def test_interactions_come_by_user_then_time_then_file():
    users, times = np.array([2, 1, 2, 1, 2]), np.array([5, 9, 5, 1, 4])
    log = put_in_order(users, np.array([10, 11, 12, 13, 14]), times)
    assert log.users.tolist() == [1, 1, 2, 2, 2]
    assert log.times.tolist() == [1, 9, 4, 5, 5]
    assert log.items.tolist() == [13, 11, 14, 10, 12]
    assert order_interactions(users, times).tolist() == [3, 1, 4, 0, 2]


def test_offsets_are_indexed_by_user_those_without_interactions_too():
    log = put_in_order(*np.array([[3, 1, 3], [7, 8, 9], [0, 0, 1]]), n_users=6)
    assert log.offsets.tolist() == [0, 0, 1, 1, 3, 3, 3]
    assert log.items[log.offsets[3] : log.offsets[4]].tolist() == [7, 9]
    assert log.starts.tolist() == [0, 1, 1]


def test_every_interaction_with_a_predecessor_is_a_target():
    assert log_of([1, 2, 2, 3, 3, 3], [0, 0, 1, 0, 1, 2]).targets().tolist() == [2, 4, 5]
    assert log_of([], []).targets().tolist() == []


def test_shuffled_ties_follow_the_seed_and_leave_different_times_in_order():
    users, items = np.ones(31, dtype=np.int64), np.arange(31)
    times = np.append(np.zeros(30, dtype=np.int64), 1)
    first, again, other = (
        put_in_order(users, items, times, shuffle_ties=seed).items.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(first) == items.tolist()
    assert first[-1] == other[-1] == 30


def test_a_part_shows_all_up_to_each_user_s_last_target():
    log = log_of([1, 1, 1, 2, 2, 3], [0, 5, 9, 1, 2, 3])
    # User 1's target is its second interaction, user 2 has its last, user 3 has none.
    shown = shown_interactions(log, np.array([4, 1]), None)
    assert shown.tolist() == [True, True, False, True, True, False]
    assert longest_gap(log, log.times, shown) == 5 - 0
    assert longest_gap(log, log.times, np.ones(6, dtype=bool)) == 5
    assert longest_gap(log, log.times * 2, shown & (log.users == 2)) == 2
    assert longest_gap(log, log.times, np.zeros(6, dtype=bool)) == 0


def test_a_part_that_ends_at_a_moment_shows_all_before_it():
    log = log_of([1, 1, 2, 3], [0, 5, 4, 6])
    assert shown_interactions(log, np.array([1]), 5).tolist() == [True, False, True, False]
