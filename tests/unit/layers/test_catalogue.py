"""Rows of the catalogue, all of them or those a step needs."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.items import FeatureTable

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_rows_are_found_by_item_where_only_some_are_held():
    rows = torch.tensor([[20.0], [50.0], [90.0]])[:, None]
    held = Catalogue(rows, torch.tensor([2, 5, 9]))
    assert held.of(torch.tensor([9, 2, 9])).flatten().tolist() == [90, 20, 90]
    assert Catalogue(rows).of(torch.tensor([2, 0])).flatten().tolist() == [90, 20]


def test_streams_stand_side_by_side_in_the_table():
    rows = torch.tensor([[[1, 2], [3, 4]]])
    assert Catalogue(rows).table().tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("resident", [True, False])
def test_features_of_items(resident):
    table = FeatureTable(VALUES.__getitem__, n_items=4, width=3, resident=resident)
    assert table(torch.tensor([3, 0])).tolist() == [[9, 10, 11], [0, 1, 2]]
    assert table.state_dict() == {}


def test_all_features_only_where_they_are_in_memory():
    table = FeatureTable(VALUES.__getitem__, n_items=4, width=3, resident=True)
    assert table().tolist() == VALUES.tolist()
    table = FeatureTable(VALUES.__getitem__, n_items=4, width=3, resident=False)
    with pytest.raises(ValueError, match="items must be named"):
        table()
