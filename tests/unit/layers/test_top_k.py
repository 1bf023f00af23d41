"""The best items of scores, ties in the order of the columns."""

import pytest
import torch

from recbole_hm4sr.layers.ranking import top_k


def sorted_one_by_one(scores, k):
    return [
        sorted(range(len(row)), key=lambda place: (-row[place], place))[:k]
        for row in scores.tolist()
    ]


@pytest.mark.parametrize("n_values", [1, 2, 5, 1000])
@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_equal_scores_stand_in_the_order_of_their_columns(n_values, k):
    scores = torch.randint(n_values, (200, 40), generator=torch.Generator().manual_seed(k)).float()
    values, columns = top_k(scores, k)
    assert columns.tolist() == sorted_one_by_one(scores, k)
    assert torch.equal(values, scores.gather(1, columns))


def test_a_row_does_not_depend_on_the_rows_beside_it():
    scores = torch.randint(4, (50, 30), generator=torch.Generator().manual_seed(1)).float()
    together = top_k(scores, 5)[1]
    alone = torch.cat([top_k(row[None], 5)[1] for row in scores])
    assert torch.equal(together, alone)


def test_what_is_ruled_out_stands_last():
    scores = torch.tensor([[1.0, -torch.inf, 3.0, -torch.inf]])
    values, columns = top_k(scores, 3)
    assert columns[0, :2].tolist() == [2, 0]
    assert values[0].tolist() == [3.0, 1.0, -torch.inf]
