"""Features and categories reach the items by token, from each of their sources."""

import numpy as np
import pytest
from datafiles import (
    read_dataset,
    write_features,
    write_lines,
)

from recbole_hm4sr.base.errors import DataError

# RecBole's own reader, on pandas 3.
pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")

VECTORS = {f"i{number}": [number, number / 2] for number in (3, 1, 0, 2)}


def expected_matrix(dataset):
    rows = [[0, 0], *(VECTORS[token] for token in dataset.item_tokens[1:])]
    return np.array(rows, dtype=np.float32)


def write_source(folder, source, modality="text"):
    rows = [(token, " ".join(map(str, vector))) for token, vector in VECTORS.items()]
    if source == "npz":
        write_features(folder, modality, VECTORS)
    else:
        suffix = "item" if source == "item" else modality
        write_lines(folder / f"toy.{suffix}", f"item_id:token\t{modality}:float_seq", rows)


@pytest.mark.parametrize("setting", ["auto", "same"])
@pytest.mark.parametrize("source", ["npz", "item", "side"])
def test_features_come_by_token_from_each_source(folder, source, setting):
    write_source(folder, source)
    modalities = {"text": source if setting == "same" else "auto"}
    dataset = read_dataset(folder.parent, modalities=modalities)
    assert dataset.modality_names == ("text",)
    assert np.array_equal(dataset.modality("text").values, expected_matrix(dataset))
    assert dataset.modality("text") is dataset.modality("text")


def test_auto_takes_the_first_source_of_npz_item_and_side_file(folder):
    for source in ("side", "item", "npz"):
        write_source(folder, source)
    encoders = []
    for name in ("toy.text.npz", "toy.item", "toy.text"):
        dataset = read_dataset(folder.parent, modalities={"text": "auto"})
        encoders.append((dataset.modality("text").encoder, (folder / name).is_file()))
        (folder / name).unlink()
    assert encoders == [("test", True), ("column text", True), ("column text", True)]
    dataset = read_dataset(folder.parent, modalities={"text": "auto"})
    with pytest.raises(
        DataError,
        match=r"modality 'text' must .*toy\.text\.npz, a column text:float_seq in .*toy\.item, "
        r"or the atomic file .*toy\.text, but none exists",
    ):
        dataset.modality("text")


def test_any_number_of_modalities_shares_the_catalogue(folder):
    assert read_dataset(folder.parent).modality_names == ()
    for modality, source in (("text", "npz"), ("image", "side"), ("sound", "npz")):
        write_source(folder, source, modality)
    dataset = read_dataset(
        folder.parent, modalities={"sound": "auto", "text": "auto", "image": "auto"}
    )
    assert dataset.modality_names == ("sound", "text", "image")
    for name in dataset.modality_names:
        assert np.array_equal(dataset.modality(name).values, expected_matrix(dataset))
    dataset.build()
    assert set(dataset.fingerprints()) == {
        "interactions",
        "sound features",
        "text features",
        "image features",
    }


def test_items_without_features_are_refused_or_zero_as_the_setting_says(folder):
    write_features(folder, "text", {"i2": [1.0], "i0": [2.0]})
    dataset = read_dataset(folder.parent, modalities={"text": "npz"})
    with pytest.raises(
        DataError, match=r"2 of 4 items have no text feature in .*, e.g. 'i1', 'i3'"
    ):
        dataset.modality("text")
    dataset = read_dataset(folder.parent, modalities={"text": "npz"}, missing_features="zero")
    assert dataset.modality("text").values.ravel().tolist() == [0, 2, 0, 1, 0]
    assert dataset.modality("text").present.tolist() == [False, True, False, True, False]


def test_text_features_that_were_never_made_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_lines(folder / "toy.item", "item_id:token\ttitle:token_seq", [("i0", "x")])
    dataset = read_dataset(folder.parent, modalities={"text": "tfidf-svd"}, text_fields=["title"])
    with pytest.raises(DataError, match=r"the feature file .*cache.*\.npz does not exist"):
        dataset.modality("text")


# --- categories --------------------------------------------------------------------------------


def test_categories_are_flags_by_internal_item_id(folder):
    rows = [("i3", "b a"), ("i9", "z"), ("i1", "a"), ("i0", "b  a")]
    write_lines(folder / "toy.item", "item_id:token\tcategories:token_seq", rows)
    dataset = read_dataset(folder.parent, category_field="categories")
    flags, names = dataset.categories()
    assert names == ("a", "b")
    assert flags.dtype == np.uint8
    by_token = dict(zip(dataset.item_tokens, flags.tolist(), strict=True))
    assert by_token == {"[PAD]": [0, 0], "i0": [1, 1], "i1": [1, 0], "i2": [0, 0], "i3": [1, 1]}


def test_a_token_column_gives_one_category_an_item(folder):
    rows = [("i0", "Acme Corp"), ("i1", "Acme"), ("i2", ""), ("i3", "Acme Corp")]
    write_lines(folder / "toy.item", "item_id:token\tbrand:token", rows)
    flags, names = read_dataset(folder.parent, category_field="brand").categories()
    assert names == ("Acme", "Acme Corp")
    assert flags[1:].tolist() == [[0, 1], [1, 0], [0, 0], [0, 1]]


def test_without_a_category_field_there_are_no_categories(folder):
    dataset = read_dataset(folder.parent)
    flags, names = dataset.categories()
    assert flags.shape == (dataset.item_num, 0)
    assert names == ()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("item_id:token\tcategories:float", [("i0", "1")], "'categories' must be token_seq or"),
        (
            "item_id:token\tgenre:token",
            [("i0", "1")],
            "must have the column 'categories', got item",
        ),
        (
            "item_id:token\tcategories:token_seq",
            [("i0", "a"), ("i0", "b")],
            "item_id must be on one line each, got 'i0' in lines 2 and 3",
        ),
    ],
)
def test_a_bad_category_column_is_refused(folder, header, rows, message):
    write_lines(folder / "toy.item", header, rows)
    with pytest.raises(DataError, match=message):
        read_dataset(folder.parent, category_field="categories").categories()
