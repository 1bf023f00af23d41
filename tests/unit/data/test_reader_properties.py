"""Whatever is in a file: a value that keeps its promises, or one sentence."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import (
    parse_float_sequences,
    read_atomic,
    read_header,
)
from recbole_hm4sr.data.features import (
    ItemFeatures,
    align_features,
    load_features,
    save_features,
)
from recbole_hm4sr.data.times import read_times

# A cell is any text without what parts cells and lines, and without a zero byte.
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), max_size=8)
TOKEN = CELL.filter(bool)
SECONDS = st.integers(0, 10**11 - 1)


def error_sentence(error):
    assert len(str(error).splitlines()) == 1
    assert str(error)


@given(rows=st.lists(st.tuples(TOKEN, TOKEN, CELL), min_size=1, max_size=6),
       end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans(), closed=st.booleans())  # fmt: skip
def test_cells_come_back_as_they_were_written(tmp_path, rows, end, mark, closed):
    path = tmp_path / "toy.inter"
    lines = ["user_id:token\titem_id:token\ttitle:token_seq", *("\t".join(row) for row in rows)]
    text = "\ufeff" * mark + end.join(lines) + end * closed
    path.write_bytes(text.encode())
    table = read_atomic(path)
    assert table.tokens("user_id").tolist() == [row[0] for row in rows]
    assert table.tokens("item_id").tolist() == [row[1] for row in rows]
    assert table.sequences("title") == [[p for p in row[2].split(" ") if p] for row in rows]


@given(times=st.lists(SECONDS, min_size=1, max_size=8))
def test_times_come_back_exactly_up_to_the_year_5138(tmp_path, times):
    path = tmp_path / "toy.inter"
    path.write_text("t:float\n" + "".join(f"{time}\n" for time in times))
    values = read_times(read_atomic(path), "t", "s")
    assert values.dtype == np.int64
    assert values.tolist() == times


@given(rows=st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2),
                     min_size=1, max_size=4))  # fmt: skip
def test_float_sequences_come_back_as_float32(tmp_path, rows):
    path = tmp_path / "toy.text"
    lines = "".join(" ".join(map(repr, row)) + "\n" for row in rows)
    path.write_text("v:float_seq\n" + lines)
    values = parse_float_sequences(read_atomic(path), "v")
    assert np.array_equal(values, np.array(rows, dtype=np.float32))


@given(content=st.binary(max_size=200))
@example(b"a:token\n\0\n")
@example(b"a:float\n1_0\n")
@example("a:token\n\u2028\n".encode())
@example(b"a:token\n\x1c\n\x1d\n")
@example(b"a\x1eb:float\nx\n")
# Found by make fuzz: a bad float, and a byte that is not UTF-8 in a column behind it.
@example(b"a:float\tb:token\nx\t\x95\n")
def test_any_bytes_are_a_table_or_one_sentence(tmp_path, content):
    path = tmp_path / "toy.inter"
    path.write_bytes(content)
    try:
        table = read_atomic(path)
    except DataError as error:
        error_sentence(error)
    else:
        assert dict(read_header(path)) == table.kinds


def test_a_bad_byte_behind_a_bad_float_is_named(tmp_path):
    path = tmp_path / "toy.inter"
    path.write_bytes(b"a:float\tb:token\n1\ty\nx\t\x95\n")
    with pytest.raises(DataError, match=r"toy\.inter, line 3 must be UTF-8"):
        read_atomic(path)


@given(body=st.text(alphabet='ab\t\n\r "09.e-:naif', max_size=60))
def test_any_lines_below_a_header_are_a_table_or_one_sentence(tmp_path, body):
    path = tmp_path / "toy.inter"
    path.write_bytes(b"u:token\tt:float\n" + body.encode())
    try:
        table = read_atomic(path)
        times = read_times(table, "t", "s")
    except DataError as error:
        error_sentence(error)
    else:
        assert len(times) == len(table.frame) == len(body.rstrip("\r\n").split("\n"))
        assert (times >= 0).all()


ITEMS = st.lists(TOKEN, min_size=1, max_size=6, unique=True)


def stored(tokens, data):
    shape = (len(tokens), data.draw(st.integers(1, 3)))
    kind = data.draw(st.sampled_from([np.float16, np.float32]))
    finite = {"allow_nan": False, "allow_infinity": False, "width": 16}
    values = data.draw(arrays.arrays(kind, shape, elements=st.floats(**finite)))
    return ItemFeatures(np.array(tokens), values, "e", "r", "")


@given(tokens=ITEMS, data=st.data())
def test_features_come_back_as_they_were_saved(tmp_path, tokens, data):
    features = stored(tokens, data)
    save_features(tmp_path / "toy.npz", features)
    found = load_features(tmp_path / "toy.npz")
    assert found.tokens.tolist() == tokens
    assert found.values.dtype == features.values.dtype
    assert np.array_equal(found.values, features.values)


@given(tokens=ITEMS, catalogue=ITEMS, data=st.data())
def test_rows_go_to_the_items_of_their_tokens(tokens, catalogue, data):
    features = stored(tokens, data)
    by_token = dict(zip(tokens, features.values, strict=True))
    names = ["[PAD]", *catalogue]
    if not set(tokens) & set(catalogue):
        return
    aligned = align_features(features, names, modality="text", missing="zero")
    zero = np.zeros(features.values.shape[1])
    for row, token in enumerate(names):
        expected = by_token.get(token, zero) if row else zero
        assert np.array_equal(aligned.values[row], np.asarray(expected, dtype=np.float32))
        assert aligned.present[row] == (row > 0 and token in by_token)


@given(content=st.binary(max_size=120), prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY"]))
def test_any_bytes_are_features_or_one_sentence(tmp_path, content, prefix):
    path = tmp_path / "toy.text.npz"
    path.write_bytes(prefix + content)
    try:
        load_features(path)
    except DataError as error:
        error_sentence(error)
    else:
        raise AssertionError("bytes without an archive's directory cannot be features")


def test_an_altered_byte_anywhere_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "toy.text.npz"
    features = ItemFeatures(np.array(["a", "b"]), np.eye(2, dtype=np.float32), "e", "r", "")
    save_features(path, features)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        try:
            found = load_features(path)
        except DataError as error:
            error_sentence(error)
            refused += 1
        else:
            assert found.tokens.tolist() == ["a", "b"]
            assert np.array_equal(found.values, features.values)
    assert refused > 100
