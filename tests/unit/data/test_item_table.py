"""Typed columns of an .item file: as read, as kept, and for items in another order."""

import numpy as np
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.item_table import ItemTable, NumberColumn, TextColumn, read_item_table

LINES = """\
item_id:token\ttitle:token_seq\tbrand:token\tcategories:token_seq\tprice:float\tv:float_seq\tx:token
A\tRed  shoe\tNike\tShoes Sale Shoes\t10.5\t1 2\ty
B\t\tÅß\t\t\t1 2\tz
C\tHat\t\tHats\tinf\t1 2\t
"""
SETTINGS = {"text_fields": ["title", "categories"], "category_field": "categories"}


def read(folder, lines=LINES, **more):
    path = folder / "d.item"
    path.write_text(lines, encoding="utf-8")
    settings = DataSettings(**{**SETTINGS, **more})
    return read_item_table(path, item_field="item_id", settings=settings)


def shown(table):
    rows = np.arange(len(table.tokens))
    return {name: column.cells(rows).tolist() for name, column in table.columns.items()}


EXPECTED = {
    "title": ["Red shoe", None, "Hat"],
    "brand": ["Nike", "Åß", None],
    "categories": [["Shoes", "Sale"], [], ["Hats"]],
    "price": [10.5, None, None],
}


def test_columns_have_the_type_of_the_file(tmp_path):
    table = read(tmp_path)
    assert shown(table) == EXPECTED
    assert table.title == "title"
    assert isinstance(table.columns["price"], NumberColumn)
    other = read(tmp_path, serve_columns=["x", "v", "none", "item_id"])
    assert shown(other) == {"x": ["y", "z", None]}
    assert other.title is None


def test_parts_are_words_of_a_text_and_values_of_a_list(tmp_path):
    """Without text_fields a title is text all the same; a description would be a list of words."""
    lines = LINES.replace("brand:token", "note:token_seq").replace("Åß", "two words")
    table = read(tmp_path, lines, text_fields=[], serve_columns=["title", "note"])
    assert shown(table)["title"] == EXPECTED["title"]
    assert shown(table)["note"] == [["Nike"], ["two", "words"], []]
    table = read(tmp_path, lines, text_fields=["note"], serve_columns=["note"])
    assert shown(table)["note"] == ["Nike", "two words", None]


def test_what_is_kept_is_read_again(tmp_path):
    table = read(tmp_path)
    path = tmp_path / "kept.npz"
    write_npz(path, table.to_arrays())
    with np.load(path) as arrays:
        again = ItemTable.of_arrays(dict(arrays))
    assert shown(again) == EXPECTED
    assert again.tokens.tolist() == ["A", "B", "C"]
    assert again.title == "title"
    empty = ItemTable.of_arrays(ItemTable().to_arrays())
    assert (len(empty.tokens), empty.columns, empty.title) == (0, {}, None)
    assert ItemTable.of_arrays({}) is None


def test_rows_follow_the_items_of_a_run(tmp_path):
    items = np.array([None, "C", "new", "A"], dtype=object)
    table = read(tmp_path).of_items(items)
    assert shown(table) == {
        "title": [None, "Hat", None, "Red shoe"],
        "brand": [None, None, None, "Nike"],
        "categories": [[], ["Hats"], [], ["Shoes", "Sale"]],
        "price": [None, None, None, 10.5],
    }
    assert table.columns["categories"].filled().tolist() == [False, True, False, True]
    names = table.columns["categories"].names.tolist()
    chosen = np.array([name in ("Sale", "Hats") for name in names])
    assert table.columns["categories"].rows_with(chosen).tolist() == [False, True, False, True]


def test_no_file_and_no_columns_give_an_empty_table(tmp_path):
    settings = DataSettings(serve_columns=[])
    assert read_item_table(tmp_path / "no", item_field="i", settings=settings).columns == {}
    assert read(tmp_path, serve_columns=[]).columns == {}
    with pytest.raises(DataError, match="item_id must be on one line each, got 'A'"):
        read(tmp_path, LINES + "A\tx\tx\tx\t1\t1\tx\n")


def test_a_table_with_further_items_has_theirs_behind():
    first = ItemTable(
        np.array(["a", "b"], dtype=object),
        {
            "price": NumberColumn(np.array([1.0, np.nan])),
            "kind": text_column(["x"], ["y", "x"]),
            "brand": text_column(["Acme"], []),
        },
        "brand",
    )
    more = ItemTable(
        np.array(["c", "b", "d"], dtype=object),
        {
            "price": NumberColumn(np.array([3.0, 9.0, 4.0])),
            "kind": text_column(["w"], ["x"], ["y", "z"]),
            "other": NumberColumn(np.zeros(3)),
        },
    )
    found, rows = first.joined(more), np.arange(4)
    assert found.tokens.tolist() == ["a", "b", "c", "d"]
    assert found.title == "brand"
    assert {name: column.cells(rows).tolist() for name, column in found.columns.items()} == {
        "price": [1, None, 3, 4],
        "kind": [["x"], ["y", "x"], ["w"], ["y", "z"]],
        "brand": [["Acme"], [], [], []],
    }
    with pytest.raises(DataError, match="'price' of new items must be of numbers, as that of the"):
        first.joined(ItemTable(more.tokens, {"price": more.columns["kind"]}))


def text_column(*rows):
    """A list column."""
    names = sorted({name for row in rows for name in row})
    codes = np.array([names.index(name) for row in rows for name in row], dtype=np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    return TextColumn(np.array(names, dtype=object), codes, starts, is_list=True)
