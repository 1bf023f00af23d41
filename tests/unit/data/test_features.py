"""Item features: rows found by token, bad files refused."""

import logging
import os
import re

import numpy as np
import pytest
from datafiles import write_lines

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.features import (
    ItemFeatures,
    align_features,
    features_from_column,
    load_features,
    save_features,
    text_features_path,
)


def features(rows, dtype=np.float32, source="toy.text.npz"):
    values = np.array(list(rows.values()), dtype=dtype)
    return ItemFeatures(np.array(list(rows)), values, "clip", "r1", source)


def align(stored, tokens, missing="error"):
    return align_features(stored, ["[PAD]", *tokens], modality="text", missing=missing)


def test_rows_are_found_by_token_whatever_their_order():
    rows = {"b": [2, 20], "a": [1, 10], "c": [3, 30]}
    forwards = align(features(rows), ["a", "b", "c"])
    backwards = align(features(dict(reversed(rows.items()))), ["a", "b", "c"])
    expected = np.array([[0, 0], [1, 10], [2, 20], [3, 30]], dtype=np.float32)
    assert np.array_equal(forwards.values, expected)
    assert forwards.values.dtype == np.float32
    assert forwards.present.tolist() == [False, True, True, True]
    assert forwards.encoder == "clip"
    assert backwards.fingerprint == forwards.fingerprint


def test_tokens_of_other_lengths_than_the_stored_ones_do_not_match():
    aligned = align(features({"a1": [1.0], "a": [2.0]}), ["a", "a12"], "zero")
    assert aligned.values.ravel().tolist() == [0, 2, 0]


def test_half_precision_values_are_widened():
    aligned = align(features({"a": [1 / 3]}, np.float16), ["a"])
    assert aligned.values[1, 0] == np.float32(np.float16(1 / 3))


def test_items_without_a_row_are_an_error_that_counts_and_names_three():
    tokens = ["a", "b", "c", "d", "e"]
    with pytest.raises(
        DataError,
        match=r"4 of 5 items have no text feature in toy.text.npz, e.g. 'b', 'c', 'd'; encode them "
        "or set missing_features: zero",
    ):
        align(features({"a": [1.0]}), tokens)


def test_items_without_a_row_are_zero_where_the_setting_says_so():
    aligned = align(features({"a": [1.0], "c": [3.0]}), ["a", "b", "c"], "zero")
    assert aligned.values.ravel().tolist() == [0, 1, 0, 3]
    assert aligned.present.tolist() == [False, True, False, True]


def test_rows_of_unknown_items_are_left_out_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        aligned = align(features({"x": [9.0], "a": [1.0]}), ["a"])
    assert aligned.values.ravel().tolist() == [0, 1]
    assert "toy.text.npz: 1 of 2 rows belong to items outside the catalogue" in caplog.text


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_features_of_another_data_set_are_refused(missing):
    with pytest.raises(
        DataError, match="none matches; they look like '0', the data set's like 'B00A1'"
    ):
        align(features({"0": [1.0], "1": [2.0]}), ["B00A1", "B00A2"], missing)


def test_the_fingerprint_changes_with_a_value_and_with_a_missing_row():
    one = align(features({"a": [1.0], "b": [0.0]}), ["a", "b"])
    other_value = align(features({"a": [1.5], "b": [0.0]}), ["a", "b"])
    other_presence = align(features({"a": [1.0]}), ["a", "b"], "zero")
    assert np.array_equal(one.values, other_presence.values)
    assert len({one.fingerprint, other_value.fingerprint, other_presence.fingerprint}) == 3


# --- the contract of a feature file --------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            features({"a": [1.0], "b": [np.nan], "c": [np.inf]}),
            "finite, .* of 2 items, e.g. 'b', 'c'",
        ),
        (features({"a": [-np.inf]}), "finite, but the rows of 1 item, e.g. 'a' hold NaN or inf"),
        (
            ItemFeatures(np.array(["a", "b", "a"]), np.ones((3, 1), np.float32), "", "", "f"),
            "a token must appear once, got more of 1 item, e.g. 'a'",
        ),
        (
            ItemFeatures(np.array([1, 2]), np.ones((2, 1), np.float32), "", "", "f"),
            r"tokens must be a list of texts, got int64 of shape \(2,\)",
        ),
        (
            ItemFeatures(np.array(["a"]), np.ones((1, 1)), "", "", "f"),
            r"values must be float16 or float32 .*, got float64 of shape \(1, 1\)",
        ),
        (
            ItemFeatures(np.array(["a"]), np.ones(1, np.float32), "", "", "f"),
            r"values must be .* of shape \(items, width\) or .*, got float32 of shape \(1,\)",
        ),
        (
            ItemFeatures(np.array(["a", "b"]), np.ones((1, 2), np.float32), "", "", "f"),
            r"the same number of rows, at least 1, got 2 tokens and values of shape \(1, 2\)",
        ),
        (
            ItemFeatures(np.zeros(0, "U1"), np.ones((0, 2), np.float32), "", "", "f"),
            "at least 1, got 0 tokens",
        ),
        (
            ItemFeatures(np.array(["a"]), np.ones((1, 0), np.float32), "", "", "f"),
            r"values of shape \(1, 0\)",
        ),
    ],
)
def test_features_that_break_the_contract_are_neither_written_nor_read(stored, message, tmp_path):
    path = tmp_path / "toy.text.npz"
    with pytest.raises(DataError, match=message):
        save_features(path, stored)
    assert list(tmp_path.iterdir()) == []
    np.savez(path, tokens=stored.tokens, values=stored.values, encoder="x", revision="y")
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        load_features(path)


def test_a_written_file_reads_back_as_it_was(tmp_path):
    path = tmp_path / "new" / "toy.text.npz"
    stored = features({"ü b": [1.0, 2.0], "a": [3.0, 4.0]}, np.float16)
    save_features(path, stored)
    read = load_features(path)
    assert read.tokens.tolist() == ["ü b", "a"]
    assert read.values.dtype == np.float16
    assert np.array_equal(read.values, stored.values)
    assert (read.encoder, read.revision, read.source) == ("clip", "r1", str(path))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def layered(n_layers=3, width=2):
    values = np.arange(4 * n_layers * width, dtype=np.float32).reshape(4, n_layers, width)
    tokens = np.array(["a", "b", "c", "d"])
    flat = values.reshape(4, -1)
    return values, ItemFeatures(tokens, flat, "bert", "r1", "toy.text.npz", n_layers)


@pytest.mark.parametrize("save", [None, np.savez, np.savez_compressed])
def test_layers_are_read_as_they_were_written(tmp_path, save):
    values, stored = layered()
    path = tmp_path / "toy.text.npz"
    if save is None:
        save_features(path, stored)
    else:
        save(path, tokens=stored.tokens, values=values, encoder="bert", revision="r1")
    with np.load(path) as archive:
        assert np.array_equal(archive["values"], values)
    read = load_features(path)
    assert read.n_layers == 3
    assert np.array_equal(read.values, values.reshape(4, -1))


def test_one_vector_an_item_is_the_last_layer():
    values, stored = layered()
    aligned = align(stored, ["c", "a", "z"], "zero")
    assert (aligned.n_layers, aligned.width) == (3, 2)
    expected = np.stack([values[0] * 0, values[2], values[0], values[0] * 0])
    assert np.array_equal(aligned.values, expected[:, -1])
    assert np.array_equal(aligned.take(np.array([2, 3])), expected[[2, 3], -1])
    layers = aligned.take_layers(np.array([1, 0])).reshape(2, 3, 2)
    assert np.array_equal(layers, expected[[1, 0]])
    flat = align(ItemFeatures(*list(vars(stored).values())[:5]), ["c", "a", "z"], "zero")
    assert flat.width == 6
    assert flat.fingerprint != aligned.fingerprint


def test_a_layer_that_is_not_finite_is_refused(tmp_path):
    values, stored = layered()
    values[1, 0, 1] = np.nan
    path = tmp_path / "toy.text.npz"
    np.savez(path, tokens=stored.tokens, values=values, encoder="bert", revision="r1")
    with pytest.raises(
        DataError, match=r"values must be finite, but the rows of 1 item, e\.g\. 'b'"
    ):
        load_features(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*toy\.text\.npz: (File exists|Not a dir)"):
        save_features(tmp_path / "file" / "toy.text.npz", features({"a": [1.0]}))


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("run",)


def test_a_pickled_object_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.text.npz"
    np.savez(path, tokens=np.array([_Trap()], dtype=object), values=np.ones((1, 1), np.float32))
    with pytest.raises(DataError, match=r"must be an \.npz file of plain arrays"):
        load_features(path)
    np.save(tmp_path / "trap.npy", np.array([_Trap()], dtype=object))
    with pytest.raises(DataError, match=r"must be an \.npz archive, but is a single NumPy array"):
        load_features(tmp_path / "trap.npy")
    assert not (tmp_path / "run").exists()


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "toy.text.npz"
    with pytest.raises(DataError, match=r"the feature file .*toy\.text\.npz does not exist"):
        load_features(path)
    for content in (b"", b"text", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"must be an \.npz file of plain arrays, but"):
            load_features(path)
    np.save(tmp_path / "single.npy", np.ones(3))
    with pytest.raises(DataError, match=r"must be an \.npz archive, but is a single NumPy array"):
        load_features(tmp_path / "single.npy")
    np.savez(path, tokens=np.array(["a"]), values=np.ones((1, 1), np.float32), encoder="x")
    with pytest.raises(DataError, match="must hold 'revision', got encoder, tokens, values"):
        load_features(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_anywhere_is_refused_or_changes_nothing(save, tmp_path):
    path = tmp_path / "toy.text.npz"
    stored = features({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    save(path, tokens=stored.tokens, values=stored.values, encoder="clip", revision="r1")
    whole = path.read_bytes()
    refused = 0
    damaged = [whole[:end] for end in range(0, len(whole), 25)]
    damaged += [
        whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :]
        for place in range(0, len(whole), 7)
    ]
    for content in damaged:
        path.write_bytes(content)
        try:
            read = load_features(path)
        except DataError:
            refused += 1
        else:
            assert np.array_equal(read.values, stored.values)
            assert read.tokens.tolist() == ["a", "b"]
    # Every shortened file, and every flip in the arrays themselves.
    assert refused >= len(range(0, len(whole), 25)) + len(whole) // 21


# --- columns of atomic files ---------------------------------------------------------------------


def test_a_float_seq_column_is_a_source(tmp_path):
    path = write_lines(
        tmp_path / "toy.item", "item_id:token\ttext:float_seq", [("b", "1 2"), ("a", "3 4")]
    )
    read = features_from_column(path, "item_id", "text")
    assert read.tokens.tolist() == ["b", "a"]
    assert read.values.tolist() == [[1, 2], [3, 4]]
    assert read.values.dtype == np.float32
    assert read.encoder == "column text"


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("item_id:token\ttext:token", [("a", "1 2")], "'text' must be float_seq, got token"),
        ("item_id:token\tx:float_seq", [("a", "1")], "must have the column 'text', got item_id, x"),
        ("item_id:token\ttext:float_seq", [("a", "1"), ("a", "2")], "once, got more of 1 item"),
        ("item_id:token\ttext:float_seq", [("a", "1"), ("b", "nan")], "finite, .* 'b' hold NaN"),
        ("item_id:token\ttext:float_seq", [("a", "1"), ("b", "inf")], "finite, .* 'b' hold NaN"),
        ("item_id:token\ttext:float_seq", [("a", "1e39")], "finite, .* 'a' hold NaN or infinity"),
        (
            "item_id:token\ttext:float_seq",
            [("a", "1"), ("b", "1 2")],
            "line 3: text must hold 1 val",
        ),
        ("item_id:token\ttext:float_seq", [("", "1")], "line 2: item_id must not be empty"),
    ],
)
def test_a_bad_column_is_refused(tmp_path, header, rows, message):
    path = write_lines(tmp_path / "toy.item", header, rows)
    with pytest.raises(DataError, match=message):
        features_from_column(path, "item_id", "text")


def test_the_cache_name_changes_with_the_file_and_the_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    item = write_lines(tmp_path / "toy.item", "item_id:token\ttitle:token_seq", [("a", "x")])
    first = text_features_path(item, ["title"])
    assert first.parent == tmp_path / "cache" / "recbole_hm4sr" / "text"
    assert text_features_path(item, ["title"]) == first
    assert text_features_path(item, ["title", "brand"]) != first
    write_lines(item, "item_id:token\ttitle:token_seq", [("a", "y")])
    assert text_features_path(item, ["title"]) != first
    item.unlink()
    with pytest.raises(DataError, match=r"cannot read .*toy\.item: No such file"):
        text_features_path(item, ["title"])
