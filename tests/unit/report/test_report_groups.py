"""The report's ranges and groups, by hand."""

import numpy as np
import pytest
from runfiles import write_ranks

from recbole_hm4sr.evaluate.group_scores import mean_and_interval, scores_by_group
from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.report.buckets import COUNTS, day_of_week, hour_of_day, month_of_year


def test_scores_of_groups_by_hand(tmp_path):
    write_ranks(tmp_path, history_length=np.array([4, 5, 4, 60]))
    scores = scores_by_group(read_ranks(tmp_path), "include", "MRR@10")
    first, last = scores["Length of the history, items"]
    # Ranks 1, 3 and 11: 1, 1/3 and nothing beyond the cut-off.
    values = [1, 1 / 3, 0]
    mean = sum(values) / 3
    half = 1.96 * np.sqrt(sum((value - mean) ** 2 for value in values) / 2 / 3)
    assert (first.label, first.name, first.n_targets) == ("3 to 5", "history 3 to 5", 3)
    assert first.mean == pytest.approx(mean)
    assert first.interval == pytest.approx((max(0.0, mean - half), min(1.0, mean + half)))
    assert (last.label, last.n_targets, last.mean, last.interval) == ("51 or more", 1, 1.0, None)
    assert first.small
    # No user is new in a run that does not say: the question tells nobody apart.
    assert "User seen in training" not in scores


def test_the_interval_is_over_users_whose_targets_are_no_samples_of_their_own():
    """Users of 2, 1 and 3 targets: their deviations from the mean, 1/2, sum to 1, -1/2, -1/2."""
    values = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    users = np.array(["a", "a", "b", "c", "c", "c"])
    mean, interval = mean_and_interval(values, users)
    assert mean == 1 / 2
    half = 1.96 * np.sqrt((1 + 1 / 4 + 1 / 4) * 3 / 2) / 6
    assert interval == pytest.approx((1 / 2 - half, 1 / 2 + half))
    assert mean_and_interval(values[3:], users[3:]) == (1 / 3, None)  # one user


def test_every_range_begins_at_its_edge():
    edges = np.array(COUNTS.edges)
    assert COUNTS.number(edges).tolist() == list(range(len(COUNTS.labels)))
    assert COUNTS.number(edges[1:] - 1).tolist() == list(range(len(edges) - 1))


def test_the_calendar_by_pandas():
    import pandas as pd

    times = np.random.default_rng(1).integers(-(10**9), 4 * 10**9, size=500)
    stamps = pd.to_datetime(times, unit="s", utc=True)
    assert hour_of_day(times).tolist() == stamps.hour.tolist()
    assert day_of_week(times).tolist() == stamps.day_of_week.tolist()
    assert month_of_year(times).tolist() == (stamps.month - 1).tolist()
