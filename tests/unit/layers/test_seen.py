"""Where left-out items stand among candidates, by hand."""

import torch

from recbole_hm4sr.layers.losses import match_rows
from recbole_hm4sr.layers.seen import places_of


def test_places_of_seen_items_among_candidates():
    seen = torch.tensor([[0, 4], [0, 4], [0, 9], [2, 1], [2, 100]])
    places = places_of(seen, torch.tensor([9, 1, 4, 1, 4]), n_rows=3)
    assert places.tolist() == [[0, 0], [0, 2], [0, 4], [2, 1], [2, 3]]


def test_nothing_seen_is_nowhere():
    none = torch.empty(0, 2, dtype=torch.int64)
    assert places_of(none, torch.tensor([1, 2]), n_rows=3).tolist() == []


def test_a_row_whose_target_was_seen_is_no_negative():
    # Row 1 has taken 7, row 0's target: 0 is no negative of 1, but 1 is one of 0.
    rows = match_rows(torch.tensor([7, 3, 9]), seen=torch.tensor([[1, 7], [1, 5]]))
    assert rows.excluded.tolist() == [[1, 0]]
    rows = match_rows(torch.tensor([7, 3, 7]), seen=torch.tensor([[1, 7]]))
    assert rows.excluded.tolist() == [[0, 2], [1, 0], [1, 2], [2, 0]]
