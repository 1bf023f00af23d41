"""The index of a position, from the oldest item, to the last row of the table, from the newest."""

import pytest
import torch

from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.positions import position_index

EXPECTED = {
    "oldest": [[0, 1, 2], [0]],
    "newest": [[2, 3, 4], [4]],
    "inverse": [[2, 1, 0], [0]],
}


@pytest.mark.parametrize("order", EXPECTED)
def test_the_index_counts_what_the_order_says(order):
    lengths = torch.tensor([3, 1])
    packed = position_index(build_packing(lengths, 4), 5, order)
    assert packed.tolist() == [index for row in EXPECTED[order] for index in row]
    padded = position_index(PaddedRows(lengths, 4), 5, order).view(2, 4)
    assert [row[:n].tolist() for row, n in zip(padded, [3, 1], strict=True)] == EXPECTED[order]
    assert padded.min() >= 0
    assert padded.max() < 5
