"""Views of histories, similar items and even users, by arithmetic."""

import math

import numpy as np
import pytest
import torch

from recbole_hm4sr.data.item_similarity import inputs_of, most_even_users, most_similar_items
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.views import ViewRules, make_view, most_even_window, newest_of
from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.nt_xent import nt_xent
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.pairs import hidden_keys

RULES = ViewRules(
    insert_rate=0.5,
    substitute_rate=0.1,
    mask_rate=0.5,
    mask_mode="random",
    crop_rate=0.7,
    reorder_rate=0.5,
    short_threshold=3,
    window_gaps="fixed",
)
NEAR = np.array([0, 11, 12, 13, 14, 15, 16, 17, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
KEYS = [0.9, 0.1, 0.5, 0.3, 0.7, 0.2]


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (0.0, [1, 2, 13, 4, 5, 6]),  # replaces the item of the smallest gap, the earlier of two
        (0.2, [1, 11, 2, 3, 4, 14, 5, 6, 16]),  # inserts behind the three largest
        (0.4, [1, 0, 3, 0, 5, 0]),  # masks the three smallest numbers
        # Of 4 items the most even gaps: 8, 3, 2 with 3 * 77 - 13^2, 3, 2, 9 and 2, 9, 2 with more.
        (0.6, [1, 2, 3, 4]),
        (0.8, [1, 3, 2, 4, 5, 6]),
    ],
)
def test_each_operator(draw, expected):
    items, gaps = np.arange(1, 7), np.array([8, 3, 2, 9, 2, 9])
    # Of 3 items the most even gaps: 3 and 2, of items 2 to 4.
    keys = [0.5, 0.5, 0.1, 0.9, 0.5, 0.5] if draw == 0.8 else KEYS
    found = make_view(items, gaps, NEAR, RULES, np.array([draw, *keys]))
    assert found.tolist() == expected


def test_equal_gaps_replace_the_earlier_and_grow_behind_the_later():
    items, gaps = np.array([1, 2, 3]), np.array([5, 5, 5])
    draws = np.array([0.0, 0.5, 0.5, 0.5])
    assert make_view(items, gaps, NEAR, RULES, draws).tolist() == [11, 2, 3]
    draws[0] = 0.4  # one of three operators: the history is short
    assert make_view(items, gaps, NEAR, RULES, draws).tolist() == [1, 2, 3, 13]


def test_an_item_without_a_similar_one_gets_any():
    items, gaps = np.array([9, 1]), np.array([1, 5])
    found = make_view(items, gaps, NEAR, RULES, np.array([0.0, 0.5, 0.5]))
    assert found.tolist() == [1 + int(0.5 * 19), 1]


def test_one_item_is_only_grown():
    items, gaps = np.array([4]), np.array([5])
    for draw, expected in ((0.0, [4]), (0.4, [4, 14]), (0.9, [4])):
        assert make_view(items, gaps, NEAR, RULES, np.array([draw, 0.5])).tolist() == expected


@pytest.mark.parametrize(
    ("gaps", "width", "kind", "start"),
    [
        ([1, 1, 9, 9, 1], 3, "fixed", 2),  # gaps 9, 9 and 1, 1: the latest
        ([1, 5, 9, 9, 1], 3, "official", 2),  # one gap a window: no variance, the latest
        ([10**9, 10**9 + 1, 10**9, 10**9 + 2, 10**9], 3, "fixed", 1),
        ([3, 3], 2, "fixed", 0),
    ],
)
def test_the_most_even_window(gaps, width, kind, start):
    assert most_even_window(np.array(gaps), width, kind) == start


def test_views_are_cut_to_the_newest_and_begin_with_an_item():
    views = [np.array([0, 0, 3, 0]), np.array([1, 2, 3, 4, 5]), np.array([7, 0, 0, 0])]
    rows, lengths = newest_of(views, 3)
    assert rows.tolist() == [[3, 0, 0], [3, 4, 5], [7, 0, 0]]
    assert lengths.tolist() == [2, 3, 1]


def test_similar_items_are_bought_by_the_same_users():
    users = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    items = np.array([1, 2, 1, 1, 2, 2, 3, 4, 5])
    near = most_similar_items(users, items, 7)
    # s_12 = 2 / ln 3 / 2^.5 / 3^.5; s_23 = s_24 = 1 / ln 4 / 3^.5; s_34 = 1 / ln 4.
    assert 2 / math.log(3) / 6**0.5 > 1 / math.log(4) / 3**0.5
    assert near.tolist() == [0, 2, 1, 4, 3, 0, 0]


def test_the_last_shown_interaction_of_a_user_is_no_input():
    log = InteractionLog.of_ordered(
        np.array([1, 1, 1, 2, 2]), np.arange(5), np.array([0, 1, 5, 0, 9])
    )
    shown = np.array([True, True, False, True, True])
    assert inputs_of(log, shown).tolist() == [True, False, False, True, False]


def test_even_users_have_gaps_of_small_variance():
    users = np.array([1, 1, 1, 2, 2, 2, 3, 3, 3])
    times = np.array([0, 10, 20, 0, 1, 20, 0, 5, 11])
    log = InteractionLog.of_ordered(users, np.ones(9, dtype=np.int64), times)
    shown = np.ones(9, dtype=bool)
    assert most_even_users(log, shown, 0.34).tolist() == [True] * 3 + [False] * 6
    assert most_even_users(log, shown, 0.67).tolist() == [True] * 3 + [False] * 3 + [True] * 3


def test_a_hidden_key_is_as_if_it_were_not_there():
    torch.manual_seed(0)
    layer = SelfAttention(hidden_size=4, n_heads=2, attn_dropout_prob=0.0).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    packing, shorter = (
        build_packing(torch.tensor([3, 2]), 3),
        build_packing(torch.tensor([2, 2]), 3),
    )
    hidden = torch.tensor([False, True, False, False, False])
    context = StepContext(packing, hidden_keys(hidden, packing))
    kept = x[~hidden]
    expected = layer(kept, kept, StepContext(shorter))
    torch.testing.assert_close(layer(x, x, context)[~hidden], expected)
    last = layer.at_last(x[packing.last], x, context)
    torch.testing.assert_close(last, expected[shorter.last])


def test_two_views_are_told_from_all_others():
    first, second = torch.randn(2, 3, 4, dtype=torch.float64)
    views = torch.cat([first, second])
    expected = 0
    for row in range(6):
        scores = [float(views[row] @ views[other]) / 0.5 for other in range(6) if other != row]
        positive = float(views[row] @ views[(row + 3) % 6]) / 0.5
        expected += math.log(sum(map(math.exp, scores))) - positive
    found = nt_xent(first, second, temperature=0.5)
    assert found.item() == pytest.approx(expected / 6, rel=1e-12)
