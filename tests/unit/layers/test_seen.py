"""What a user has taken before a target, by hand and against sets."""

import torch

from recbole_hm4sr.layers.losses import match_rows
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.seen import places_of, seen_items

LENGTHS = torch.tensor([3, 1, 4])
ITEMS = torch.tensor([5, 6, 5, 8, 9, 2, 9, 3])  # packed: 5 6 5 | 8 | 9 2 9 3


def test_the_items_before_the_target_after_the_last_token():
    packing = build_packing(LENGTHS, 5)
    seen = seen_items(packing, ITEMS, packing.last, torch.tensor([7, 8, 2]))
    # The target itself (8 and 2, taken again) is never among them.
    assert seen.tolist() == [[0, 5], [0, 6], [0, 5], [2, 9], [2, 9], [2, 3]]


def test_the_items_before_targets_within_a_sequence():
    packing = build_packing(LENGTHS, 5)
    places = torch.tensor([0, 1, 5, 6])  # after 5, after 5 6; after 9 2, after 9 2 9
    seen = seen_items(packing, ITEMS, places, torch.tensor([6, 5, 9, 3]))
    assert seen.tolist() == [[0, 5], [1, 6], [2, 2], [3, 9], [3, 2], [3, 9]]


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
