"""The filter by the number of interactions leaves exactly what RecBole's leaves."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from recbole.data.dataset import Dataset

from recbole_hm4sr.data.filters import filter_by_counts

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")
INTERVALS = [None, "[1,inf)", "[2,inf)", "[3,inf)", "(1,4]", "[3,5];[1,1]", "[100,inf)", "[0,6)"]


class Frames(SimpleNamespace):
    """The part of RecBole's data set that its filter reads."""

    _parse_intervals_str = Dataset._parse_intervals_str
    _within_intervals = Dataset._within_intervals
    _get_illegal_ids_by_inter_num = Dataset._get_illegal_ids_by_inter_num
    logger = SimpleNamespace(debug=lambda _: None, warning=lambda _: None)


def frames(seed, users, items, *, attributes, categorical):
    """Random interactions of 25 users and 20 items, some of whom the attribute files lack."""
    random = np.random.default_rng(seed)
    n = random.integers(20, 160)
    columns = {
        "user": np.array([f"u{int(number)}" for number in random.zipf(1.6, n) % 25], dtype=object),
        "item": np.array([f"i{number}" for number in random.integers(20, size=n)], dtype=object),
    }
    inter = pd.DataFrame(
        {
            name: pd.Categorical(values) if categorical else pd.Series(values, dtype=object)
            for name, values in columns.items()
        }
    ).assign(row=np.arange(n))
    feats = dict.fromkeys(("user_feat", "item_feat"))
    if attributes:
        for name, letter, count in (("user", "u", 22), ("item", "i", 24)):
            tokens = [f"{letter}{number}" for number in random.permutation(count)]
            feats[f"{name}_feat"] = pd.DataFrame({name: pd.Series(tokens, dtype=object)})
    config = {"user_inter_num_interval": users, "item_inter_num_interval": items}
    return Frames(uid_field="user", iid_field="item", inter_feat=inter, config=config, **feats)


@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("items", INTERVALS)
@pytest.mark.parametrize("users", INTERVALS)
def test_what_is_left_is_what_recbole_leaves(users, items, attributes):
    for seed in range(3):
        theirs = frames(seed, users, items, attributes=attributes, categorical=False)
        Dataset._filter_by_inter_num(theirs)
        for categorical in (False, True):
            ours = frames(seed, users, items, attributes=attributes, categorical=categorical)
            filter_by_counts(ours)
            assert ours.inter_feat["row"].tolist() == theirs.inter_feat["row"].tolist()
            assert ours.inter_feat["user"].tolist() == theirs.inter_feat["user"].tolist()
            if attributes:
                assert ours.user_feat["user"].tolist() == theirs.user_feat["user"].tolist()
                assert ours.item_feat["item"].tolist() == theirs.item_feat["item"].tolist()


def test_the_filter_runs_until_nothing_more_falls():
    # u1 has too few, then i1, then u2, then i2: only the square u3, u4 x i3, i4 is left.
    rows = [("u1", "i1"), ("u2", "i1"), ("u2", "i2"), ("u3", "i2")]
    rows += [("u3", "i3"), ("u3", "i4"), ("u4", "i3"), ("u4", "i4")]
    inter = pd.DataFrame(rows, columns=["user", "item"], dtype="category")
    data = Frames(
        uid_field="user",
        iid_field="item",
        inter_feat=inter,
        user_feat=None,
        item_feat=None,
        config={"user_inter_num_interval": "[2,inf)", "item_inter_num_interval": "[2,inf)"},
    )
    filter_by_counts(data)
    assert list(zip(data.inter_feat["user"], data.inter_feat["item"], strict=True)) == rows[4:]
    assert data.inter_feat.index.tolist() == [0, 1, 2, 3]
