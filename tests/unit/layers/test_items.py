"""Item parts against plain sums."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.layers.items import CategoryRows, FeatureRows, FeatureTable, IdRows

FLAGS = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], dtype=np.uint8)
ITEMS = torch.tensor([3, 0, 4, 3])


def by_hand(weight, pooling):
    """An item at a time: no padding anywhere."""
    rows = []
    for flags in FLAGS:
        own = [weight[number] for number in np.flatnonzero(flags)]
        total = sum(own, np.zeros(weight.shape[1]))
        rows.append(total / max(1, len(own)) if pooling == "mean" else total)
    return np.array(rows)


def test_ids():
    part = IdRows(5, 4)
    assert part.width == 4
    assert list(part.state_dict()) == ["weight"]
    assert part.rows() is part.weight
    assert torch.equal(part.rows(ITEMS), part.weight[ITEMS])


@pytest.mark.parametrize("resident", [True, False])
def test_features_are_projected(resident):
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    table = FeatureTable(values.__getitem__, n_items=5, width=3, resident=resident)
    part = FeatureRows(table, 2).double()
    assert part.width == 2
    assert list(part.state_dict()) == ["weight", "bias"]  # the features are in no checkpoint
    weight, bias = (p.detach().numpy() for p in part.parameters())
    expected = torch.from_numpy(values @ weight.T + bias)
    torch.testing.assert_close(part.rows(ITEMS), expected[ITEMS])
    if resident:
        torch.testing.assert_close(part.rows(), expected)
    part.drop_features()
    with pytest.raises(ValueError, match="the features were dropped"):
        part.rows(ITEMS)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_categories_equal_the_sum_of_each_item(pooling):
    part = CategoryRows(FLAGS, 4, pooling).double()
    assert list(part.state_dict()) == ["embedding.weight"]
    expected = by_hand(part.embedding.weight.detach().numpy(), pooling)
    torch.testing.assert_close(part.rows().detach(), torch.from_numpy(expected))
    torch.testing.assert_close(part.rows(ITEMS).detach(), torch.from_numpy(expected[ITEMS]))


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_the_padding_of_a_list_of_categories_gets_no_gradient(pooling):
    """Category 0 fills the lists: an item that has it not must not train it."""
    part = CategoryRows(FLAGS, 4, pooling)
    part.rows(torch.tensor([2, 4])).sum().backward()  # without a category, and with the second
    assert part.embedding.weight.grad.tolist() == [[0.0] * 4, [1.0] * 4, [0.0] * 4]


def test_a_catalogue_without_categories_has_zeros():
    part = CategoryRows(np.zeros((3, 2), dtype=np.uint8), 4)
    assert part.rows().tolist() == [[0.0] * 4] * 3
