"""Groups of test targets: every one by hand, and the file of ranks they are read from."""

import numpy as np
import pytest
from runfiles import write_ranks

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.evaluate.groups import (
    GAPS,
    GROUP_NAMES,
    GROUPINGS,
    HISTORY,
    SMALL,
    group_masks,
    is_small,
    telling,
)
from recbole_hm4sr.evaluate.rank_file import read_ranks


def names_of(ranks):
    """The groups of each target."""
    masks = group_masks(ranks)
    assert tuple(masks) == GROUP_NAMES
    return [[name for name in masks if masks[name][k]] for k in range(len(ranks["user"]))]


def test_groups_of_four_targets_by_hand(tmp_path):
    write_ranks(
        tmp_path,
        history_length=np.array([0, 5, 6, 60]),
        training_length=np.array([0, 1, 1, 9]),
        target_count=np.array([0, 4, 5, 1000]),
    )
    assert names_of(read_ranks(tmp_path)) == [
        ["history none", "tail", "new items", "under 5 in training", "new users", "tie"],
        ["history 3 to 5", "tail", "known items", "under 5 in training", "known users", "non-tie",
         "gap under 1 min"],
        ["history 6 to 10", "middle", "known items", "5 or more in training", "known users",
         "non-tie", "gap 1 to 6 h"],
        ["history 51 or more", "head", "known items", "5 or more in training", "known users",
         "non-tie", "gap over a year"],
    ]  # fmt: skip


def test_a_file_of_an_earlier_release_has_no_new_users(tmp_path):
    write_ranks(tmp_path)
    ranks = read_ranks(tmp_path)
    assert "training_length" not in ranks
    assert group_masks(ranks)["known users"].all()
    # Nor does a run say which items are cold, but one of all items.
    assert not (group_masks(ranks)["cold"] | group_masks(ranks)["warm"]).any()


def test_a_grouping_splits_targets_and_ties_have_no_gap():
    rng = np.random.default_rng(0)
    ranks = {
        "user": np.arange(200),
        "history_length": rng.integers(0, 100, 200),
        "gap_seconds": rng.choice([0, 0.001, 59, 60, 86400, 1e9], 200),
        "target_count": rng.integers(0, 3, 200),
        "popularity": rng.choice(["head", "middle", "tail"], 200),
        "interactions_before": rng.integers(0, 3, 200),
    }
    masks = group_masks(ranks)
    np.testing.assert_array_equal(masks["cold"], ranks["interactions_before"] == 0)
    for grouping in GROUPINGS:
        times = np.sum([masks[name] for name in grouping.names], axis=0)
        expected = ranks["gap_seconds"] > 0 if grouping.names[0].startswith("gap") else 1
        assert (times == expected).all()


@pytest.mark.parametrize("buckets", [GAPS, HISTORY])
def test_every_range_begins_at_its_edge(buckets):
    assert len(buckets.edges) == len(buckets.labels)
    edges = np.array(buckets.edges)
    assert buckets.number(edges).tolist() == list(range(len(edges)))
    assert buckets.number(edges[1:] - 0.001).tolist() == list(range(len(edges) - 1))


def test_a_grouping_of_one_group_tells_nothing_and_a_small_group_stays():
    found = {
        grouping.title: present for grouping, present in telling({"tie": 9, "head": 1, "tail": 5})
    }
    assert found == {"Popularity of the target in training": (0, 2)}


def test_a_group_is_small_by_its_users_not_its_targets():
    ranks = {"user": np.arange(2 * SMALL) // 2}  # two targets each
    everyone = np.ones(2 * SMALL, dtype=bool)
    assert not is_small(ranks, everyone)
    assert is_small(ranks, everyone & (ranks["user"] > 0))


def test_ranks_are_ordered_by_user_and_targets_of_a_user_keep_their_order(tmp_path):
    write_ranks(tmp_path, user=np.array(["b", "a", "b", "a"]))
    ranks = read_ranks(tmp_path)
    assert ranks["user"].tolist() == ["a", "a", "b", "b"]
    assert ranks["target"].tolist() == ["i2", "i4", "i1", "i3"]


def test_ranks_without_a_column_are_refused(tmp_path):
    np.savez(tmp_path / "test_ranks.npz", user=np.array(["u"]), rank_include=np.array([1]))
    with pytest.raises(DataError, match="but lacks gap_seconds, history_length, popularity, rank_"):
        read_ranks(tmp_path)
