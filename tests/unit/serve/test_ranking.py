"""Items that a model cannot tell apart."""

import pytest
import torch

from recbole_hm4sr.serve.ranking import find_identical_items


def test_equal_rows_of_the_table_are_found():
    table = torch.randn(5000, 6, generator=torch.Generator().manual_seed(2))
    table[[4100, 4999]] = table[7].clone()
    table[12] = table[11].clone()
    twins = find_identical_items(table)
    assert twins.items.tolist() == [12, 4100, 4999]
    assert twins.firsts.tolist() == [11, 7, 7]
    assert find_identical_items(torch.empty(0, 0)).items.tolist() == []


def test_items_with_equal_rows_are_told_apart_by_their_marks():
    table = torch.tensor([[0.0], [1.0], [1.0], [2.0], [1.0], [1.0], [2.0]])
    asked = []

    def marks(items):
        asked.append(items.tolist())
        return torch.tensor([5, 6, 5, 6, 6, 5])  # of 1, 2, 3, 4, 5, 6: not of 0

    twins = find_identical_items(table, marks)
    assert asked == [[1, 2, 3, 4, 5, 6]]
    # 3 and 6 have the same row and the same mark as well; 2, 4, 5 are not 1.
    assert twins.items.tolist() == [4, 5, 6]
    assert twins.firsts.tolist() == [2, 2, 3]


def test_twins_share_a_score_unless_something_else_parts_them():
    twins = find_identical_items(torch.tensor([[1.0], [2.0], [1.0], [1.0]]))
    scores = torch.tensor([[0.5, 9.0, 0.5 + 2**-22, 0.6]])  # rounding; and, say, a bias
    twins.unite(scores)
    assert scores.tolist() == [[0.5, 9.0, 0.5, pytest.approx(0.6)]]
