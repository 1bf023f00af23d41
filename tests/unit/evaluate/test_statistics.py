"""Metrics by rank, the paired test and Holm's correction, against arithmetic by hand."""

import math

import numpy as np
import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.evaluate.statistics import holm, paired_test, parse_metric, user_metric


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("NDCG@10", [1 / math.log2(2), 1 / math.log2(4), 1 / math.log2(11), 0]),
        ("mrr@10", [1, 1 / 3, 1 / 10, 0]),
        ("Hit@10", [1, 1, 1, 0]),
        ("Recall@3", [1, 1, 0, 0]),
        ("MAP@3", [1, 1 / 3, 0, 0]),
    ],
)
def test_metrics_of_one_target_follow_from_its_rank(metric, expected):
    np.testing.assert_allclose(user_metric(np.array([1, 3, 10, 11]), metric), expected)


@pytest.mark.parametrize("name", ["NDCG", "NDCG@0", "NDCG@x", "AUC@10", "@10"])
def test_other_metrics_are_refused(name):
    with pytest.raises(ConfigError, match=r"must be one of hit, map, mrr, ndcg, recall with a cut"):
        parse_metric(name)


def test_paired_test_by_hand():
    # Differences 1/2, 0, 0, 1/2: mean 1/4, variance (4 / 16) / 3, so t = sqrt(3) with 3 degrees
    # of freedom, where Student's distribution is 3/4 + 1 / (2 pi).
    test = paired_test(np.array([0.5, 1, 0, 1]), np.array([0, 1, 0, 0.5]))
    assert test.n_users == 4
    assert test.difference == 0.25
    assert test.effect_size == pytest.approx(math.sqrt(3) / 2)
    assert test.p == pytest.approx(1 / 2 - 1 / math.pi)
    error, quantile = math.sqrt(1 / 12) / 2, 3.182446  # the 0.975 quantile, from a printed table
    assert test.low == pytest.approx(0.25 - quantile * error, abs=1e-6)
    assert test.high == pytest.approx(0.25 + quantile * error, abs=1e-6)


def test_models_that_agree_everywhere_do_not_differ():
    values = np.array([0.0, 0.5, 1.0])
    test = paired_test(values, values)
    assert (test.difference, test.effect_size, test.p) == (0, 0, 1)
    assert (test.low, test.high) == (0, 0)


def test_one_user_tells_nothing():
    test = paired_test(np.array([1.0]), np.array([0.0]))
    assert test.difference == 1
    assert math.isnan(test.p)
    assert math.isnan(test.effect_size)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; the last must
    # not be below the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested():
    adjusted = holm([0.6, math.nan, 0.5])
    assert adjusted[0] == 1
    assert math.isnan(adjusted[1])
    assert adjusted[2] == 1
    assert holm([]) == []
