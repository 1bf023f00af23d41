"""Attributes of items, their loss and fusion, and what DIF-SR and NOVA refuse."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.attributes import ItemAttribute, read_attribute
from recbole_hm4sr.layers.attributes import AttributeRows, attribute_loss
from recbole_hm4sr.layers.fusion import build_fusion
from recbole_hm4sr.layers.softmax import TargetShares
from recbole_hm4sr.model.side.settings import DIFSRSettings
from recbole_hm4sr.model.side.side_information import DIFSR, NOVA

VALUES = np.array([[0, 0, 0], [2, 1, 2], [3, 0, 0], [0, 0, 0]])


def write_items(folder, rows):
    path = folder / "toy.item"
    head = "item_id:token\tcategories:token_seq\tbrand:token\tprice:float"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_values_are_numbered_as_sorted_and_repeated_as_written(tmp_path):
    path = write_items(tmp_path, ["a\tz x z\tacme\t1", "b\t\tzen\t1", "c\ty\tacme\t1"])
    tokens = ["[PAD]", "a", "b", "new"]
    found = read_attribute(path, "item_id", "categories", tokens)
    assert found.names == ("x", "z")  # y is of no item of the data set
    assert found.values.tolist() == [[0, 0, 0], [2, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert (found.is_single, found.n_values) == (False, 3)
    brand = read_attribute(path, "item_id", "brand", tokens)
    assert brand.values.tolist() == [[0], [1], [2], [0]]
    assert brand.is_single


def test_a_column_of_numbers_is_no_attribute(tmp_path):
    path = write_items(tmp_path, ["a\tx\tacme\t1"])
    with pytest.raises(DataError, match="column 'price' must be token or token_seq, got float"):
        read_attribute(path, "item_id", "price", ["[PAD]", "a"])


@pytest.mark.parametrize(
    ("pooling", "is_single", "expected"),
    [
        ("sum", False, [[0, 0], [25, 250], [7, 70], [0, 0]]),  # 2 * 10 + 5
        ("mean", False, [[0, 0], [25 / 3, 250 / 3], [7, 70], [0, 0]]),
        ("sum", True, [[3, 30], [10, 100], [7, 70], [3, 30]]),  # no value is a value
    ],
)
def test_the_vector_of_an_item_is_that_of_its_values(pooling, is_single, expected):
    rows = AttributeRows(VALUES, n_values=4, width=2, pooling=pooling, is_single=is_single).double()
    with torch.no_grad():
        first = torch.tensor([3.0, 5, 10, 7], dtype=torch.float64)
        rows.embedding.weight.copy_(torch.stack([first, 10 * first], dim=1))
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(rows.rows(), expected)
        torch.testing.assert_close(rows.rows(torch.tensor([3, 1])), expected[[3, 1]])


def test_the_loss_of_an_attribute_is_binary_for_each_value():
    logits = torch.tensor([[9.0, 0.5, -1, 2], [9, 1, 1, -3]], dtype=torch.float64)
    labels = [[1, 2, 0], [0, 0, 1]]  # items 1 and 2, without column 0

    def expected(labels):
        pairs = [
            math.log1p(math.exp(z)) - z * y
            for row, own in zip(logits[:, 1:].tolist(), labels, strict=True)
            for z, y in zip(row, own, strict=True)
        ]
        return sum(pairs) / 2 / 3

    values, targets = torch.from_numpy(VALUES), torch.tensor([1, 2])
    loss = attribute_loss(logits, values, targets, divisor=2)
    assert loss.item() == pytest.approx(expected(labels), rel=1e-12)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
    shares = TargetShares(pairs, torch.tensor([0.25, 0.75, 1]), np.array([0, 2, 3]))
    loss = attribute_loss(logits, values, targets, divisor=2, shares=shares)
    mixed = [[0.25, 0.5, 0.75], [0, 0, 1]]
    assert loss.item() == pytest.approx(expected(mixed), rel=1e-12)


@pytest.mark.parametrize("kind", ["gate", "concat"])
def test_short_rows_fuse_as_rows_with_zeros_behind_them(kind):
    torch.manual_seed(2)
    fusion = build_fusion(kind, n_streams=3, size=6).double()
    rows = torch.randn(3, 2, 4, dtype=torch.float64)
    longer = torch.cat([rows, rows.new_zeros(3, 2, 2)], dim=-1)
    torch.testing.assert_close(fusion(rows), fusion(longer)[..., :4])


def test_equal_streams_have_equal_weights():
    fusion = build_fusion("gate", n_streams=3, size=4).double()
    row = torch.tensor([[1.0, -2, 3, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(fusion(torch.stack([row] * 3)), row)


def attributes_of(column, category_field="categories"):
    dataset = ArrayDataset(4)
    dataset.settings = SimpleNamespace(category_field=category_field)
    dataset.attribute = lambda name: {column: ItemAttribute(VALUES, ("x", "y", "z"), False)}[name]
    return dataset


SMALL = {"hidden_size": 8, "n_heads": 2, "n_layers": 1}


def test_the_attribute_is_the_category_field_unless_others_are_named():
    dataset = attributes_of("categories")
    model = DIFSR(model_config("DIFSR", attribute_sizes=[4], **SMALL), dataset)
    assert model.attributes == ("categories",)
    with pytest.raises(ConfigError, match=r"attributes must name a column .* got \[\]"):
        NOVA(model_config("NOVA", **SMALL), attributes_of("x", category_field=None))


def test_frozen_attributes_are_of_unit_deviation_and_not_trained():
    torch.manual_seed(0)
    config = model_config("NOVA", train_attributes=False, hidden_size=512, n_heads=2, n_layers=0)
    weight = NOVA(config, attributes_of("categories")).side_rows[0].embedding.weight
    assert not weight.requires_grad
    # 4 * 512 values: the deviation of their own is 1 / sqrt(2 * 2048) = .016.
    assert weight.std().item() == pytest.approx(1, abs=0.06)


def test_a_weight_of_zero_leaves_the_loss_out():
    config = model_config("NOVA", attribute_weights=[0], **SMALL)
    assert not len(NOVA(config, attributes_of("categories")).predictors)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"attributes": ["a", "b"], "attribute_weights": [1, 2, 3]},
            r"attribute_weights must have one entry, or one for each of 2 attributes, got \[1.0, 2",
        ),
        (
            {"attribute_sizes": [8, 16]},
            r"attribute_sizes must have one entry, or one for each of 1 attributes, got \[8, 16\]",
        ),
        ({"attribute_sizes": [12]}, r"attribute_sizes must be multiples of n_heads \(8\)"),
    ],
)
def test_wrong_lists_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(values, DIFSRSettings)
