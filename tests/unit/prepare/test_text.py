"""Text features without a download."""

import numpy as np
import pytest
from datafiles import read_config, write_lines

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.features import load_features, text_features_path
from recbole_hm4sr.prepare.encode.tfidf import encode_tfidf_svd, make_missing_text_features

HEADER = "item_id:token\ttitle:token_seq\tbrand:token"
ROWS = [
    ("i0", "red running shoe", "Acme"),
    ("i1", "running shoe", "Acme"),
    ("i2", 'a 24" steel hammer', "Bolt"),
    ("i3", "", ""),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "toy").mkdir()
    write_lines(tmp_path / "toy" / "toy.item", HEADER, ROWS)
    return tmp_path / "toy"


def make(folder, fields=("title", "brand"), source="tfidf-svd"):
    config = read_config(folder.parent, modalities={"text": source}, text_fields=list(fields))
    settings = read_settings(config, DataSettings)
    return make_missing_text_features(folder, "toy", settings, item_field="item_id")


def test_rows_have_length_one_and_similar_texts_similar_rows():
    values = encode_tfidf_svd([title for _, title, _ in ROWS], width=128)
    assert values.dtype == np.float32
    # Four texts: at most three dimensions.
    assert values.shape == (4, 3)
    assert np.linalg.norm(values, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-6)
    similar, different = values[0] @ values[1], values[0] @ values[2]
    assert similar > 0.5 > abs(different) + 0.4


def test_the_width_bounds_the_dimensions():
    assert encode_tfidf_svd(["one two three", "two three four", "five"], width=1).shape == (3, 1)


def test_a_single_text_or_word_is_encoded_too():
    assert encode_tfidf_svd(["one"], width=8).tolist() == [[1]]
    assert encode_tfidf_svd(["one", "one"], width=8).tolist() == [[1], [1]]


def test_encoding_is_deterministic():
    texts = [f"word{number % 7} word{number % 5} thing{number}" for number in range(40)]
    one, other = (encode_tfidf_svd(texts, width=8) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("texts", [["", ""], ["a", "!"]])
def test_texts_without_a_word_are_refused(texts):
    with pytest.raises(DataError, match="items must have words in their text, but: empty vocab"):
        encode_tfidf_svd(texts, width=8)


def test_features_are_made_once_and_kept_by_token(folder):
    path = make(folder)
    assert path == text_features_path(folder / "toy.item", ["title", "brand"])
    stored = load_features(path)
    assert stored.tokens.tolist() == ["i0", "i1", "i2", "i3"]
    texts = [f"{title} {brand}" for _, title, brand in ROWS]
    assert np.array_equal(stored.values, encode_tfidf_svd(texts, width=128))
    assert stored.encoder == "tfidf-svd"
    written = path.stat().st_mtime_ns
    assert make(folder) == path
    assert path.stat().st_mtime_ns == written


def test_a_changed_file_is_encoded_anew(folder):
    path = make(folder)
    write_lines(folder / "toy.item", HEADER, ROWS[:3])
    assert make(folder) != path
    assert len(load_features(make(folder)).tokens) == 3


def test_other_sources_need_no_features_to_be_made(folder):
    assert make(folder, source="npz") is None


def test_a_column_that_is_missing_or_no_text_is_refused(folder):
    with pytest.raises(
        DataError, match="line 1 must have the text_fields year, got item_id, title, brand"
    ):
        make(folder, ["title", "year"])
    write_lines(folder / "toy.item", "item_id:token\tprice:float", [("i0", 1), ("i1", 2)])
    with pytest.raises(DataError, match=r"'price' must be token_seq or .*, got float"):
        make(folder, ["price"])


def test_an_item_on_two_lines_is_refused(folder):
    write_lines(folder / "toy.item", HEADER, [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match=r"a token must appear once, got more of 1 item, e.g. 'i0'"):
        make(folder)
