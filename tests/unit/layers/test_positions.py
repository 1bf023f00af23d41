"""Positions counted from either end of a window."""

import pytest
import torch

from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.positions import window_positions

LENGTHS = torch.tensor([2, 4, 1])
EXPECTED = {
    "oldest": [0, 1, 0, 1, 2, 3, 0],
    "newest": [3, 4, 1, 2, 3, 4, 4],
    "inverse": [1, 0, 3, 2, 1, 0, 0],
}


@pytest.mark.parametrize("end", EXPECTED)
def test_positions_of_packed_tokens(end):
    packing = build_packing(LENGTHS, 5)
    assert window_positions(packing, 5, end).tolist() == EXPECTED[end]


@pytest.mark.parametrize("end", EXPECTED)
def test_padded_rows_have_the_same_and_none_beyond_the_window(end):
    packing, padded = build_packing(LENGTHS, 5), PaddedRows(LENGTHS, 5)
    found = window_positions(padded, 5, end).view(3, 5)
    assert found[torch.arange(5) < LENGTHS[:, None]].equal(window_positions(packing, 5, end))
    assert 0 <= found.min() <= found.max() < 5
