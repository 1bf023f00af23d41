"""Where left-out items stand among candidates, by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.seen import holds, holds_own, pairs_of_rows


def test_pairs_know_where_each_row_begins():
    seen = pairs_of_rows(torch.tensor([[0, 5], [0, 6], [2, 9]]), 4)
    assert seen.begins.tolist() == [0, 2, 2, 3, 3]


def test_where_seen_items_stand_among_candidates():
    seen = torch.tensor([[0, 4], [0, 4], [0, 9], [2, 1], [2, 100]])
    places = holds(seen, torch.tensor([9, 1, 4, 1, 4]), n_rows=3)
    assert places.nonzero().tolist() == [[0, 0], [0, 2], [0, 4], [2, 1], [2, 3]]


def test_nothing_seen_is_nowhere():
    none = torch.empty(0, 2, dtype=torch.int64)
    assert not holds(none, torch.tensor([1, 2]), n_rows=3).any()


def test_a_row_whose_target_was_seen_is_no_negative():
    # Row 1 has taken 7, row 0's target: 0 is no negative of 1, but 1 is one of 0.
    rows = loss_rows(torch.tensor([7, 3, 9]), pairs_of_rows(torch.tensor([[1, 7], [1, 5]]), 3))
    assert rows.excluded.nonzero().tolist() == [[1, 0]]
    rows = loss_rows(torch.tensor([7, 3, 7]), pairs_of_rows(torch.tensor([[1, 7]]), 3))
    assert rows.excluded.nonzero().tolist() == [[0, 2], [1, 0], [1, 2], [2, 0]]


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=40).map(sorted)


@given(pairs=PAIRS, candidates=st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_what_a_row_holds_equals_sets(pairs, candidates):
    found = holds(torch.tensor(pairs, dtype=torch.int64).view(-1, 2), torch.tensor(candidates), 5)
    assert found.tolist() == [
        [(row, item) in set(pairs) for item in candidates] for row in range(5)
    ]


OWN = st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=5, max_size=5)


@given(pairs=PAIRS, candidates=OWN)
def test_what_a_row_holds_of_its_own_candidates_equals_sets(pairs, candidates):
    found = holds_own(torch.tensor(pairs, dtype=torch.int64).view(-1, 2), torch.tensor(candidates))
    assert found.tolist() == [
        [(row, item) in set(pairs) for item in items] for row, items in enumerate(candidates)
    ]
