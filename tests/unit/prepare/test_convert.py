"""Feature files of other projects: round trips, and refusals where the order cannot be proved."""

import numpy as np
import pytest
import torch
from datafiles import NEW_YEAR, config_of, write_bytes, write_dataset, write_lines

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.prepare.convert.categories import convert_categories
from recbole_hm4sr.prepare.convert.features import convert_features
from recbole_hm4sr.prepare.convert.row_order import read_item_order, read_mapping

# RecBole's order: padding, then the tokens.
ITEMS = np.array(["[PAD]", "B9", "B1", "B5", "B3"])
# Row k belongs to ITEMS[k + 1]; 0.1 is no float16, so a loss of digits would show.
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) + np.float32(0.1)
BY_TOKEN = dict(zip(ITEMS[1:].tolist(), VALUES.tolist(), strict=True))


def convert(source, out, source_format, target_format="npz", **options):
    options = {"item_tokens": ITEMS, "columns": ("item_id", "text"), **options}
    return convert_features(
        source, out, source_format=source_format, target_format=target_format, **options
    )


def by_token(path):
    features = load_features(path)
    return dict(zip(features.tokens.tolist(), features.values.tolist(), strict=True))


@pytest.fixture
def npz(tmp_path):
    """The values as a feature file, in another order than the items'."""
    order = [2, 0, 3, 1]
    path = tmp_path / "toy.text.npz"
    save_features(path, ItemFeatures(ITEMS[1:][order], VALUES[order], "bert", "1", ""))
    return path


@pytest.mark.parametrize(
    ("form", "name", "mapping"),
    [
        ("npz", "out.npz", None),
        ("column", "toy.text", None),
        ("hm4sr", "text_emb.pt", None),
        ("mmrec", "text_feat.npy", "i_id_mapping.csv"),
        ("unisrec", "toy.feat1CLS", "toy.item2index"),
    ],
)
def test_every_format_gives_back_the_very_values(npz, tmp_path, form, name, mapping):
    folder = tmp_path / "theirs"
    report = convert(npz, folder / name, "npz", form)
    assert (report.n_items, report.width, report.skipped) == (4, 3, {})
    mapping = mapping and folder / mapping
    convert(folder / name, tmp_path / "back.npz", form, mapping=mapping)
    assert by_token(tmp_path / "back.npz") == BY_TOKEN


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_every_number_survives_a_column(tmp_path, kind):
    values = np.random.default_rng(0).normal(size=(4, 50)).astype(kind)
    save_features(tmp_path / "a.npz", ItemFeatures(ITEMS[1:], values, "x", "1", ""))
    convert(tmp_path / "a.npz", tmp_path / "toy.text", "npz", "column")
    convert(tmp_path / "toy.text", tmp_path / "b.npz", "column")
    assert np.array_equal(load_features(tmp_path / "b.npz").values.astype(kind), values)


def test_a_column_is_written_with_word_of_how_far_it_is(tmp_path):
    tokens = np.array([f"B{number}" for number in range(2500)])
    features = ItemFeatures(tokens, np.ones((2500, 1), np.float32), "x", "1", "")
    save_features(tmp_path / "a.npz", features)
    said = []
    convert(
        tmp_path / "a.npz",
        tmp_path / "toy.text",
        "npz",
        "column",
        item_tokens=np.array(["[PAD]", *tokens]),
        report=lambda *words: said.append(words),
    )
    assert said == [
        ("reading a.npz", 0, 0),
        ("comparing items", 0, 0),
        ("writing toy.text", 0, 0),
        *(("writing toy.text", done, 2500) for done in (0, 1000, 2000)),
    ]


# --- the authors' files ---------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1])
def test_an_authors_file_has_rows_in_recboles_order_with_or_without_padding(tmp_path, padding):
    rows = np.concatenate([np.full((padding, 3), 7, np.float32), VALUES])
    torch.save(torch.from_numpy(rows), tmp_path / "txt_emb.pt")
    convert(tmp_path / "txt_emb.pt", tmp_path / "out.npz", "hm4sr")
    assert by_token(tmp_path / "out.npz") == BY_TOKEN


@pytest.mark.parametrize("count", [3, 6])
def test_an_authors_file_of_another_count_is_refused(tmp_path, count):
    torch.save(torch.zeros(count, 3), tmp_path / "txt_emb.pt")
    with pytest.raises(DataError, match=f"a row for each of the 4 items .* got {count}; use the"):
        convert(tmp_path / "txt_emb.pt", tmp_path / "out.npz", "hm4sr")
    assert not (tmp_path / "out.npz").exists()


class Harmful:
    def __reduce__(self):
        return print, ("code of the file ran",)


def test_a_pt_file_never_runs_its_code(tmp_path, capsys):
    torch.save(Harmful(), tmp_path / "txt_emb.pt")
    with pytest.raises(DataError, match=r"txt_emb.pt must be a tensor written by torch.save, but"):
        convert(tmp_path / "txt_emb.pt", tmp_path / "out.npz", "hm4sr")
    assert capsys.readouterr().out == ""


def test_a_pt_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "txt_emb.pt"
    for content, problem in (
        ({"a": torch.zeros(4, 3)}, r"shape \(items, width\), got <class 'dict'>"),
        (torch.zeros(4), r"shape \(items, width\), got shape \(4,\)"),
    ):
        torch.save(content, path)
        with pytest.raises(DataError, match=problem):
            convert(path, tmp_path / "out.npz", "hm4sr")
    with pytest.raises(DataError, match=r"must be a tensor written by torch.save, but"):
        convert(write_bytes(path, b"nothing"), tmp_path / "out.npz", "hm4sr")
    with pytest.raises(DataError, match=r"no.pt does not exist"):
        convert(tmp_path / "no.pt", tmp_path / "out.npz", "hm4sr")


def test_recboles_order_is_that_of_first_appearance(tmp_path):
    times = [("u1", "B9", 0), ("u1", "B1", 1), ("u2", "B5", 0), ("u2", "B9", 1), ("u1", "B3", 2)]
    rows = [(user, item, NEW_YEAR + time) for user, item, time in times]
    path = write_dataset(tmp_path / "toy", rows)
    config = config_of("HM4SR", "toy", data_path=str(path))
    assert read_item_order(config).tolist() == ITEMS.tolist()


# --- MMRec and UniSRec ----------------------------------------------------------------------------


def write_mapping(path, rows, header="asin\titemID"):
    return write_lines(path, header, rows)


def test_mmrecs_rows_are_found_by_its_mapping(tmp_path):
    # Row 0 is B1, row 1 is B3, row 2 is a stranger, row 3 is B9; B5 has none.
    np.save(tmp_path / "f.npy", np.array([[1.0], [3.0], [-1.0], [9.0]]))
    rows = [("B3", 1), ("X", 2), ("B9", 3), ("B1", 0)]
    mapping = write_mapping(tmp_path / "i_id_mapping.csv", rows)
    report = convert(tmp_path / "f.npy", tmp_path / "out.npz", "mmrec", mapping=mapping)
    assert by_token(tmp_path / "out.npz") == {"B1": [1], "B3": [3], "B9": [9]}
    assert report.skipped == {"not an item of the data set": ["X"], "no row in the file": ["B5"]}
    swapped = write_mapping(
        tmp_path / "swapped.csv", [(row, token) for token, row in rows], "itemID\tasin"
    )
    assert read_mapping(swapped, ITEMS).tolist() == ["B1", "B3", "X", "B9"]


def test_a_data_set_that_names_items_by_row_is_understood(tmp_path):
    items = np.array(["[PAD]", "2", "0", "1"])
    mapping = write_mapping(tmp_path / "i_id_mapping.csv", [("B1", 0), ("B3", 1), ("B5", 2)])
    assert read_mapping(mapping, items).tolist() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("rows", "items", "problem"),
    [
        # Tokens that are numbers: both readings fit.
        ([("1", 0), ("0", 1)], ["0", "1"], "2 items .* got 2 of them as tokens and 2 as rows"),
        ([("A", 0), ("B", 1)], ["C", "D"], "2 items .* got 0 of them as tokens and 0 as rows"),
        ([("1", 0), ("5", 1)], ["0", "5"], "2 items .* got 1 of them as tokens and 1 as rows"),
        ([("A", 0), ("B", 0)], ["A"], r"line 3: rows must be 0 to 1, each once, got '0'"),
        ([("A", 0), ("B", 2)], ["A"], r"line 3: rows must be 0 to 1, each once, got '2'"),
        ([("A", "x")], ["A"], r"line 2: rows must be 0 to 0, each once, got 'x'"),
        ([], ["A"], "must hold lines of token and row, got none"),
        ([("A", 0, 1)], ["A"], "line 2 must have 2 columns separated by a tab, got 3"),
    ],
)
def test_a_mapping_that_proves_nothing_is_refused(tmp_path, rows, items, problem):
    mapping = write_mapping(tmp_path / "m.csv", rows)
    with pytest.raises(DataError, match=problem):
        read_mapping(mapping, np.array(["[PAD]", *items]))


def test_tokens_that_are_numbers_are_tokens_where_only_they_name_all_items(tmp_path):
    mapping = write_mapping(tmp_path / "m.csv", [("1", 0), ("2", 1), ("3", 2)])
    assert read_mapping(mapping, np.array(["[PAD]", "3", "1", "2"])).tolist() == ["1", "2", "3"]


def test_counts_that_differ_from_the_mapping_are_refused(tmp_path):
    mapping = write_mapping(tmp_path / "m.csv", [("B9", 0), ("B1", 1), ("B5", 2), ("B3", 3)])
    np.save(tmp_path / "f.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match="got 3 rows and 4 items; its order cannot be proved"):
        convert(tmp_path / "f.npy", tmp_path / "out.npz", "mmrec", mapping=mapping)
    raw = write_bytes(tmp_path / "toy.feat1CLS", np.zeros(7, np.float32).tobytes())
    with pytest.raises(DataError, match="each of the 4 items of its mapping, got 7 values; its"):
        convert(raw, tmp_path / "out.npz", "unisrec", mapping=mapping)


def test_an_npy_file_of_something_else_is_refused(tmp_path):
    mapping = write_mapping(tmp_path / "m.csv", [("B9", 0)])
    path = tmp_path / "f.npy"
    for content in (np.zeros(3), np.array([["a"]])):
        np.save(path, content)
        with pytest.raises(DataError, match="must hold one array of numbers of shape"):
            convert(path, tmp_path / "out.npz", "mmrec", mapping=mapping)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"must be an .npy file of numbers, but"):
        convert(path, tmp_path / "out.npz", "mmrec", mapping=mapping)


def test_values_that_are_not_finite_are_refused(tmp_path):
    mapping = write_mapping(tmp_path / "m.csv", [("B9", 0), ("B1", 1)])
    np.save(tmp_path / "f.npy", np.array([[1.0], [np.nan]]))
    with pytest.raises(
        DataError, match=r"values must be finite, but the rows of 1 item, e.g. 'B1'"
    ):
        convert(tmp_path / "f.npy", tmp_path / "out.npz", "mmrec", mapping=mapping)


# --- what the formats ask for ---------------------------------------------------------------------


def test_a_mapping_goes_with_the_formats_that_have_one(npz, tmp_path):
    with pytest.raises(
        ConfigError, match=r"mapping must be given for mmrec and unisrec .* got None"
    ):
        convert(npz, tmp_path / "out.npz", "mmrec")
    with pytest.raises(ConfigError, match=r"mapping must be given for .* got .*m.csv for npz"):
        convert(npz, tmp_path / "out.npz", "npz", mapping=tmp_path / "m.csv")


def test_an_unknown_format_is_refused(npz, tmp_path):
    with pytest.raises(ConfigError, match=r"a format must be one of npz, column, .* got 'csv'"):
        convert(npz, tmp_path / "out", "npz", "csv")


def test_a_format_with_a_row_for_each_item_refuses_missing_rows(tmp_path):
    source = tmp_path / "a.npz"
    save_features(source, ItemFeatures(ITEMS[1:4], VALUES[:3], "x", "1", str(source)))
    with pytest.raises(DataError, match=r"a row for each of 4 items, but 1 have none in .*a.npz"):
        convert(source, tmp_path / "text_emb.pt", "npz", "hm4sr")


def test_features_of_another_data_set_are_refused(npz, tmp_path):
    with pytest.raises(DataError, match=r"but none matches; they look like 'B5', .* like 'Q'"):
        convert(npz, tmp_path / "out.npz", "npz", item_tokens=np.array(["[PAD]", "Q"]))


# --- cat.pt ---------------------------------------------------------------------------------------

FLAGS = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 0], [0, 1]], dtype=torch.float32)


def test_categories_go_to_a_column_and_back(tmp_path):
    torch.save(FLAGS, tmp_path / "cat.pt")
    column, back = tmp_path / "toy.item", tmp_path / "back.pt"
    report = convert_categories(tmp_path / "cat.pt", column, item_tokens=ITEMS, to_tensor=False)
    assert column.read_text() == (
        "item_id:token\tcategories:token_seq\nB9\tc0\nB1\tc0 c1\nB5\t\nB3\tc1\n"
    )
    assert report.skipped == {"no category": ["B5"]}
    report = convert_categories(column, back, item_tokens=ITEMS, to_tensor=True)
    assert torch.load(back, weights_only=True).equal(FLAGS)
    assert (report.n_items, report.width, report.skipped) == (4, 2, {"no category": ["B5"]})


def test_categories_that_are_no_flags_are_refused(tmp_path):
    torch.save(FLAGS / 2, tmp_path / "cat.pt")
    with pytest.raises(DataError, match=r"cat.pt must hold 0 or 1 for each item and category"):
        convert_categories(
            tmp_path / "cat.pt", tmp_path / "toy.item", item_tokens=ITEMS, to_tensor=False
        )
    column = write_lines(tmp_path / "x.item", "item_id:token\tcategories:token_seq", [("B9", "")])
    with pytest.raises(DataError, match="categories must name a category of an item, got none"):
        convert_categories(column, tmp_path / "x.pt", item_tokens=ITEMS, to_tensor=True)
