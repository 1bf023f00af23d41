"""Workarounds in reading, as in ``test_compat.py``: RecBole still has the fault, ours does not."""

import numpy as np
import pandas as pd
import pytest
import torch
from datafiles import DAY, INTER, NEW_YEAR, read_config, walks, write_dataset, write_lines
from recbole.data import create_dataset
from recbole.data.dataset import SequentialDataset

from recbole_hm4sr.base import compat
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")
needs_pandas_3 = pytest.mark.skipif(
    int(pd.__version__.split(".")[0]) < 3, reason="pandas 2 changes the frame in place"
)


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "toy", walks([4, 5]))
    rows = [("i0", 1, "a b"), ("i1", "", "a"), ("i2", 3, ""), ("i3", 5, "b")]
    header = "item_id:token\tprice:float\ttags:token_seq"
    write_lines(tmp_path / "toy" / "toy.item", header, rows)
    return tmp_path / "toy"


def config_with_items(folder, *columns):
    return read_config(folder.parent, load_col={"inter": "*", "item": ["item_id", *columns]})


@needs_pandas_3
def test_recbole_leaves_gaps_in_the_attributes_on_pandas_3(folder):
    dataset = SequentialDataset(config_with_items(folder, "price"))
    assert dataset.item_feat["price"].isna().sum() == 3  # padding, i1, and i4 without a line


def test_our_attributes_have_no_gaps(folder):
    dataset = MultiModalSequentialDataset(config_with_items(folder, "price"))
    prices = dict(zip(dataset.item_tokens, dataset.item_feat["price"], strict=True))
    mean = (1 + 3 + 5) / 3
    assert prices == {"[PAD]": mean, "i0": 1, "i1": mean, "i2": 3, "i3": 5, "i4": mean}


def test_gaps_are_filled_by_kind_in_a_new_frame():
    frame = pd.DataFrame(
        {
            "brand": [np.nan, 2.0],
            "price": [np.nan, 3.0],
            "tags": pd.Series([np.nan, np.array([1, 2])], dtype=object),
            "shape": pd.Series([np.nan, np.array([0.5])], dtype=object),
        }
    )
    kinds = {"brand": "token", "price": "float", "tags": "token_seq", "shape": "float_seq"}
    filled = compat.fill_missing_values(frame, kinds)
    assert filled["brand"].tolist() == [0, 2]
    assert filled["price"].tolist() == [3, 3]
    assert [row.tolist() for row in filled["tags"]] == [[], [1, 2]]
    assert [row.dtype for row in filled["shape"]] == [np.float64] * 2
    assert frame["price"].isna().tolist() == [True, False]


@needs_pandas_3
def test_recbole_cannot_read_sequence_columns_on_pandas_3(folder):
    rows = [(f"i{item}", 1, "a b") for item in range(4)]
    write_lines(folder / "toy.item", "item_id:token\tprice:float\ttags:token_seq", rows)
    with pytest.raises(ValueError, match="Length of values"):
        SequentialDataset(config_with_items(folder, "tags"))


def test_our_sequence_columns_keep_their_rows(folder):
    dataset = MultiModalSequentialDataset(config_with_items(folder, "tags"))
    rows = dict(zip(dataset.item_tokens, dataset.item_feat["tags"], strict=True))
    read = {item: dataset.id2token("tags", row).tolist() for item, row in rows.items()}
    expected = {"i0": ["a", "b"], "i1": ["a"], "i2": [], "i3": ["b"], "i4": [], "[PAD]": []}
    assert read == expected


def test_flat_values_are_cut_by_the_rows_they_came_from():
    column = pd.Series([np.array([7, 8]), np.array([]), np.array([9])])
    cut = compat.split_like(column, np.array([1, 2, 3]))
    assert [part.tolist() for part in cut] == [[1, 2], [], [3]]


@needs_pandas_3
def test_pandas_3_gives_arrays_that_may_not_be_written():
    assert not pd.DataFrame({"a": [1, 2]})["a"].to_numpy().flags.writeable


def test_our_columns_may_be_written():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1]})
    columns = compat.writable_columns(frame)
    assert all(column.values.flags.writeable for column in columns.values())
    assert columns["b"].values.tolist() == [0.5, 1]


def quoted(folder):
    """The settings of a data set with a quotation mark before one title and after another."""
    titles = ["Radio", '"Best TV', "Phone", 'Lamp 24"', "Desk"]
    rows = [(f"i{number}", title) for number, title in enumerate(titles)]
    write_lines(folder / "toy.item", "item_id:token\ttitle:token", rows)
    return config_with_items(folder, "title")


def test_recbole_s_reader_swallows_rows_between_quotation_marks(folder):
    dataset = SequentialDataset(quoted(folder))
    assert "Phone" not in dataset.field2token_id["title"]


def test_our_reader_swallows_none(folder):
    dataset = MultiModalSequentialDataset(quoted(folder))
    assert set(dataset.field2token_id["title"]) == {
        "[PAD]", "Radio", '"Best TV', "Phone", 'Lamp 24"', "Desk"
    }  # fmt: skip


@pytest.fixture
def seconds(tmp_path):
    return write_dataset(tmp_path / "toy", walks([4, 5], NEW_YEAR, step=1))


def test_recbole_merges_times_of_one_minute_and_stores_padded_matrices(seconds):
    dataset = SequentialDataset(read_config(seconds))
    dataset.build()
    assert dataset.inter_feat["timestamp"].dtype == torch.float32
    assert dataset.inter_feat["timestamp"].unique().tolist() == [NEW_YEAR]
    assert dataset.inter_feat["item_id_list"].shape == (4 + 5 - 2, 50)


def test_our_times_are_whole_and_no_matrix_is_stored(seconds):
    dataset = MultiModalSequentialDataset(read_config(seconds))
    dataset.build()
    times = dataset.inter_feat["timestamp"]
    assert times.unique().tolist() == [NEW_YEAR + step for step in range(1, 5)]
    assert "item_id_list" not in dataset.inter_feat


def cached(tmp_path, dataset_class):
    """Numbers of interactions that a data set reports before and after its file has grown."""
    path = write_dataset(tmp_path / "toy", walks([4, 5]))
    config = read_config(path)
    config["checkpoint_dir"], config["save_dataset"] = str(tmp_path / "saved"), True
    before = dataset_class(config).inter_num
    write_lines(path / "toy" / "toy.inter", INTER, walks([4, 5, 6], step=DAY))
    return before, dataset_class(config).inter_num


def test_recbole_s_cache_does_not_see_that_a_file_has_changed(tmp_path):
    assert cached(tmp_path, create_dataset) == (9, 9)


def test_ours_is_read_anew(tmp_path):
    assert cached(tmp_path, MultiModalSequentialDataset) == (9, 15)
