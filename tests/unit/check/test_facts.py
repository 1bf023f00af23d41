"""Numbers of small logs and matrices, counted by hand."""

import numpy as np
import pytest

from recbole_hm4sr.check.facts import (
    DAY,
    Log,
    file_facts,
    interaction_facts,
    leakage_facts,
    order_log,
    rank_names,
)
from recbole_hm4sr.check.features import category_facts, feature_facts, feature_signal


def log_of(rows):
    """Rows of user, item and time, in file order."""
    users, items, times = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return order_log(users, items, times)


def test_a_log_is_ordered_by_user_then_time_then_file():
    log = log_of([(2, 1, 5), (1, 7, 9), (1, 3, 4), (1, 2, 4)])
    assert log.users.tolist() == [1, 1, 1, 2]
    assert log.items.tolist() == [3, 2, 7, 1]


def test_duplicates_repeats_and_ties_of_the_file_are_told_apart():
    rows = [(1, 1, 10), (1, 2, 10), (1, 1, 10), (1, 1, 20), (2, 3, 5), (2, 1, 5)]
    facts = file_facts(log_of(rows), np.array([0, 1, 2, 3]))
    assert (facts.n_users, facts.n_items, facts.n_interactions) == (2, 3, 6)
    assert facts.n_same_rows == 1  # the third line
    assert facts.n_repeats == 1  # the fourth
    # Neighbours at one time: 1-2, 2-1 and 3-1; one of three ascends.
    assert facts.n_ties == 3
    assert facts.ascending_ties == pytest.approx(1 / 3)


def test_names_are_ranked_by_value_if_all_are_numbers():
    assert rank_names(np.array(["10", "9", "100"])).tolist() == [1, 0, 2]
    assert rank_names(np.array(["10", "9", "b"])).tolist() == [0, 1, 2]


def test_times_gaps_and_lengths():
    rows = [(1, 1, 0), (1, 2, 0), (1, 3, DAY), (2, 1, 3 * DAY), (2, 2, 3 * DAY + 60)]
    facts = interaction_facts(log_of(rows), max_length=1)
    assert (facts.first, facts.last) == (0, 3 * DAY + 60)
    assert facts.midnight_share == 4 / 5
    assert facts.silence == (DAY, 3 * DAY)
    assert facts.gaps[0] == 0
    assert facts.gaps[-1] == DAY
    assert facts.zero_gaps == 1 / 3
    assert facts.lengths[0] == 2
    assert facts.lengths[-1] == 3
    assert facts.mean_length == 2.5
    assert dict(facts.length_bins)[2] == dict(facts.length_bins)[3] == 1
    assert facts.n_short == 1  # user 2
    assert facts.n_long == 1  # user 1 has two interactions before the last, a model sees one
    assert sum(number for _, number in facts.time_bins) == 5


def test_a_single_interaction_has_no_gap():
    facts = interaction_facts(log_of([(1, 1, 7)]), max_length=5)
    assert facts.silence == (7, 7)
    assert facts.gaps == (0.0,) * 5
    assert facts.time_bins == ((7, 1),)


def test_the_frequent_fifth_of_the_items():
    rows = [(user, 1, user) for user in range(6)] + [(9, item, 50) for item in (2, 3, 4, 5)]
    assert interaction_facts(log_of(rows), max_length=5).head_share == 6 / 10


def test_leakage_of_leave_one_out():
    rows = [
        (1, 1, 10), (1, 2, 20), (1, 3, 20),  # target 3 at 20: trained on at 30 only, tied with 2
        (2, 1, 11), (2, 3, 30), (2, 1, 40),  # target 1: taken before, trained on at 10
        (3, 2, 12), (3, 2, 50), (3, 2, 50),  # target 2: a duplicate of the one before, tied
        (4, 1, 13), (4, 2, 14), (4, 9, 60),  # target 9: never trained on
    ]  # fmt: skip
    log = log_of(rows)
    targets = np.array([2, 5, 8, 11])
    in_training = np.ones(12, dtype=bool)
    in_training[targets] = False
    facts = leakage_facts(log, targets, in_training, np.arange(10))
    assert facts.n_targets == 4
    assert facts.n_first_seen_later == 1
    assert facts.n_unseen == 1
    assert facts.n_tied == 2
    assert facts.mean_tied == 1.0
    assert facts.ascending_ties == 1 / 2  # 3 after 2, and 2 after 2
    assert facts.n_repeated == 2
    assert facts.n_repeated_last == 1
    assert facts.n_same_row == 1
    # Of the eight training interactions, two are later than 20, one than 40, none than 50 and 60.
    assert facts.later_training == (2 + 1) / (8 * 4)


def test_coverage_dead_columns_and_zero_rows():
    values = np.array([[0, 0, 0], [1, 0, 5], [2, 0, 5], [0, 0, 0], [3, 0, 5]], dtype=np.float32)
    present = np.array([False, True, True, False, True])
    facts = feature_facts(values, present, np.array([0, 4, 3, 2, 1]))
    assert (facts.n_items, facts.n_covered, facts.width) == (4, 3, 3)
    assert facts.covered_interactions == 8 / 10
    assert facts.n_dead == 1  # the second
    assert facts.n_constant == 1  # the third, rows without features apart
    present[3] = True
    facts = feature_facts(values, present, np.ones(5))
    assert facts.n_zero_rows == 1
    assert facts.n_constant == 0


def test_equal_rows_near_rows_and_far_norms():
    angles = np.linspace(0, np.pi, 40, endpoint=False)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # One row again, one row turned by 0.01 (cosine 0.99995), one ten times as
    # long the other way.
    turned = [np.cos(angles[7] + 0.01), np.sin(angles[7] + 0.01)]
    values = np.concatenate([np.zeros((1, 2)), rows, rows[3:4], [turned], -10 * rows[20:21]])
    present = np.arange(len(values)) > 0
    facts = feature_facts(values.astype(np.float32), present, np.ones(len(values)))
    assert facts.n_same_rows == 1
    assert facts.n_near == 2  # the turned row and its original
    assert facts.n_queries == facts.n_candidates == 42
    assert facts.n_outliers == 1
    assert sum(number for _, number in facts.norm_bins) == 43


def test_rows_of_one_length_have_no_outlier():
    angles = np.linspace(0, 1, 50)
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    values[0] = 0
    facts = feature_facts(values, np.arange(50) > 0, np.ones(50))
    assert facts.n_outliers == 0
    assert facts.norms == pytest.approx((1, 1, 1), abs=1e-6)


def groups_log():
    """Ten users, each with items of one group of ten; the groups stand at right angles."""
    rows = [(user, 1 + user * 10 + step, step) for user in range(10) for step in range(10)]
    values = np.zeros((101, 10), dtype=np.float32)
    for item in range(1, 101):
        values[item, (item - 1) // 10] = item
    return log_of(rows), values


def test_neighbours_of_one_group_are_alike():
    log, values = groups_log()
    everything = np.ones(100, dtype=bool)
    signal = feature_signal(values, np.arange(101) > 0, log, everything)
    assert signal.n_possible == 90
    assert signal.consecutive == pytest.approx(1.0)
    # A shuffled partner is of the same group for one pair in ten.
    assert signal.shuffled == pytest.approx(0.1, abs=0.1)
    assert 0.7 < signal.low < signal.difference < signal.high <= 1.0


def test_rows_given_to_other_items_carry_no_signal():
    log, values = groups_log()
    values[1:] = np.random.default_rng(3).permutation(values[1:])
    signal = feature_signal(values, np.arange(101) > 0, log, np.ones(100, dtype=bool))
    assert signal.low < 0 < signal.high


def test_only_training_pairs_of_different_items_with_features_count():
    log = log_of([(1, 1, 0), (1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 4, 4), (1, 1, 5), (1, 2, 6)])
    values = np.eye(5, dtype=np.float32)
    present = np.array([False, True, True, True, False])
    kept = np.array([True] * 6 + [False])
    signal = feature_signal(values, present, log, kept)
    assert signal.n_possible == 2  # 1-2 and 2-3
    nothing = feature_signal(values, present, log, np.zeros(7, dtype=bool))
    assert nothing.n_pairs == 0
    assert nothing.difference == 0


def test_categories():
    flags = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=np.uint8)
    facts = category_facts(flags, ("a", "b", "c"))
    assert (facts.n_items, facts.n_covered, facts.n_categories) == (4, 3, 3)
    assert facts.mean_categories == 5 / 3
    assert facts.n_single == 2
    assert facts.everywhere == ("a",)
    assert facts.largest == (("a", 3), ("b", 1), ("c", 1))


def test_the_order_of_the_file_decides_ties():
    assert isinstance(log_of([(1, 5, 0), (1, 4, 0)]), Log)
    assert log_of([(1, 5, 0), (1, 4, 0)]).items.tolist() == [5, 4]
