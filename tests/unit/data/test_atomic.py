"""Atomic files: what is read, and what is said of a bad one."""

import re

import numpy as np
import pytest
from datafiles import INTER, NEW_YEAR, write_bytes, write_lines

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data import atomic
from recbole_hm4sr.data.atomic import (
    parse_float_sequences,
    read_atomic,
    read_header,
)
from recbole_hm4sr.data.times import read_times


@pytest.fixture
def path(tmp_path):
    return tmp_path / "toy.item"


def times_of(path, values, unit="s", kind="float"):
    write_lines(path, f"user_id:token\ttimestamp:{kind}", [("u", value) for value in values])
    return read_times(read_atomic(path), "timestamp", unit)


# --- what is read ------------------------------------------------------------------------------


def test_columns_keep_their_text_and_order(path):
    write_lines(
        path,
        "item_id:token\tprice:float\ttags:token_seq",
        [("007", "1.50", "b  a"), ("NA", "", "")],
    )
    table = read_atomic(path)
    assert table.kinds == {"item_id": "token", "price": "float", "tags": "token_seq"}
    assert table.tokens("item_id").tolist() == ["007", "NA"]
    assert table.frame["price"].to_numpy()[0] == 1.5
    assert np.isnan(table.frame["price"].to_numpy()[1])
    assert table.sequences("tags") == [["b", "a"], []]


def test_only_the_columns_asked_for_are_read_in_the_order_of_the_file(path):
    write_lines(path, "a:token\tb:token\tc:token", [("1", "2", "3")])
    assert list(read_atomic(path, ["c", "a"]).frame) == ["a", "c"]


def test_a_lone_quotation_mark_is_a_letter(path):
    rows = [("i1", 'Monitor 24"'), ("i2", "plain"), ("i3", '"quoted" title'), ("i4", "it's")]
    write_lines(path, "item_id:token\ttitle:token_seq", rows)
    assert read_atomic(path).frame["title"].tolist() == [title for _, title in rows]


def test_windows_line_ends_read_as_plain_ones(tmp_path):
    rows = [("i1", 1.5, "a b"), ("i2", "", "")]
    header = "item_id:token\tprice:float\ttags:token_seq"
    plain = read_atomic(write_lines(tmp_path / "plain", header, rows))
    windows = read_atomic(write_lines(tmp_path / "windows", header, rows, end="\r\n"))
    assert windows.kinds == plain.kinds
    assert windows.frame.equals(plain.frame)


def test_mixed_line_ends_leave_no_carriage_return_in_a_token(path):
    write_bytes(path, b"user_id:token\titem_id:token\nu\ti1\r\nu\ti1\n")
    assert read_atomic(path).tokens("item_id").tolist() == ["i1", "i1"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_carriage_return_inside_a_title_is_no_line_end(path, end):
    write_bytes(path, end.join([b"item_id:token\ttitle:token_seq", b"i1\tone\rtwo", b"i2\tx", b""]))
    assert read_atomic(path).frame["title"].tolist() == ["one\rtwo", "x"]


def test_a_byte_order_mark_and_blank_lines_at_the_end_are_no_data(path):
    write_bytes(path, b"\xef\xbb\xbfitem_id:token\ttitle:token_seq\ni1\tx\n\n\r\n\n")
    table = read_atomic(path)
    assert table.frame.to_dict("list") == {"item_id": ["i1"], "title": ["x"]}


def test_the_last_line_needs_no_line_end(path):
    write_bytes(path, b"item_id:token\ni1\ni2")
    assert read_atomic(path).tokens("item_id").tolist() == ["i1", "i2"]


def test_leading_spaces_and_number_signs_belong_to_a_token(path):
    write_lines(path, "item_id:token\ttitle:token_seq", [(" i1", "x"), ("#i2", "y")])
    assert read_atomic(path).tokens("item_id").tolist() == [" i1", "#i2"]


def test_nan_as_a_word_is_a_missing_number(path):
    write_lines(path, "item_id:token\tprice:float", [("i1", "nan"), ("i2", "NaN"), ("i3", "2")])
    assert np.isnan(read_atomic(path).frame["price"].to_numpy()).tolist() == [True, True, False]


def test_a_token_column_may_serve_as_a_sequence_of_one(path):
    write_lines(path, "item_id:token\tbrand:token", [("i1", "Acme Corp"), ("i2", "")])
    assert read_atomic(path).sequences("brand") == [["Acme Corp"], []]


# --- bad files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with a header such as user_id:token, got an empty file"),
        (b"\n\n", "must start with a header such as user_id:token, got an empty file"),
        (b"item_id:token\ttitle:token_seq\n", "must have at least one line after its header"),
        (b"item_id:token\n\n\r\n", "must have at least one line after its header, got none"),
        (b"i1\tA title\n", r"line 1 must be a header of name:kind fields .*, got 'i1'"),
        (b"item_id:token\ttitle\ni1\tx\n", "line 1 must be a header of name:kind .*, got 'title'"),
        (b"item_id:tokens\ni1\n", "line 1 must be a header .*, got 'item_id:tokens'"),
        (b":token\ni1\n", "line 1 must be a header .*, got ':token'"),
        (b"a:token\tb:float\ta:token\nx\t1\tx\n", "line 1 must name a column once, got a twice"),
        (
            b"a:token\tb:token\n1\t2\n3\n",
            "line 3 must have 2 columns as the header does, got 1: '3'",
        ),
        (b"a:token\tb:token\n1\t2\t3\n", r"line 2 must have 2 columns .*, got 3: '1\\t2\\t3'"),
        (b"a:token\tb:token\n1\t2\n\n3\t4\n", "line 3 must not be blank; remove it"),
        (b"a:token\n1\n\n3\n", "line 3 must not be blank; remove it"),
        (b"a:token\n1\nx\0y\n", "line 3 must be text, got a zero byte"),
        (b"a:token\nG\xfcltig\n", r"line 2 must be UTF-8, got 'G\\\\xfcltig'; convert the file"),
        (b"a:token\t\xff:token\n1\t2\n", "line 1 must be UTF-8, got .*; convert the file"),
        (b"a:token\tp:float\n1\t2\n1\tten\n", "line 3: p must be a number, got 'ten'"),
        (b"a:token\tp:float\n1\t\n1\t1_0\n", "line 3: p must be a number, got '1_0'"),
        (b"a:token\tp:float\n1\tNA\n", "line 2: p must be a number, got 'NA'"),
    ],
)
def test_a_bad_file_is_named_with_its_line(path, content, message):
    write_bytes(path, content)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        read_atomic(path)


def test_a_line_too_long_and_one_too_short_do_not_make_up_for_each_other(path):
    write_bytes(path, b"a:token\tb:token\n1\t2\n4\n1\t2\t3\n")
    with pytest.raises(
        DataError, match="line 3 must have 2 columns as the header does, got 1: '4'"
    ):
        read_atomic(path)


def test_a_long_bad_line_is_shown_in_part(path):
    write_bytes(path, b"a:token\tb:token\n" + b"x" * 500 + b"\n")
    with pytest.raises(DataError, match=r"got 1: 'x{77}\.\.\.'$"):
        read_atomic(path)


def test_a_missing_file_column_or_folder_is_named(path, tmp_path):
    with pytest.raises(DataError, match=r"the file .*toy\.item does not exist"):
        read_atomic(path)
    with pytest.raises(DataError, match=r"cannot read the file .*: Is a directory"):
        read_header(tmp_path)
    write_lines(path, "item_id:token\tbrand:token", [("i1", "x")])
    with pytest.raises(DataError, match="line 1 must have the column 'title', got item_id, brand"):
        read_atomic(path, ["item_id", "title"])


def test_an_empty_token_is_refused_with_their_number(path):
    write_lines(path, INTER, [("u", "i", 1), ("", "i", 2), ("", "i", 3)])
    with pytest.raises(
        DataError, match="line 3: user_id must not be empty; fill in or remove 2 such lines"
    ):
        read_atomic(path).tokens("user_id")


def test_a_column_of_another_kind_is_refused(path):
    write_lines(path, "item_id:float\tprice:token\ttags:float", [("1", "2", "3")])
    table = read_atomic(path)
    with pytest.raises(DataError, match="line 1: the column 'item_id' must be token, got float"):
        table.tokens("item_id")
    with pytest.raises(DataError, match="'price' must be float, got token"):
        read_times(table, "price", "s")
    with pytest.raises(
        DataError, match="'tags' must be token_seq or float_seq or token, got float"
    ):
        table.sequences("tags")
    with pytest.raises(DataError, match="'price' must be float_seq, got token"):
        parse_float_sequences(table, "price")


# --- times -------------------------------------------------------------------------------------


def test_times_one_second_apart_keep_their_order_and_their_gap(path):
    times = times_of(path, [NEW_YEAR + 1, NEW_YEAR, f"{NEW_YEAR + 2}.0"])
    assert times.dtype == np.int64
    assert times.tolist() == [NEW_YEAR + 1, NEW_YEAR, NEW_YEAR + 2]


def test_milliseconds_are_read_to_the_last_digit(path):
    assert times_of(path, [NEW_YEAR * 1000 + 123], "ms").tolist() == [NEW_YEAR * 1000 + 123]


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_times_near_1970_and_counters_are_legal_in_both_units(path, unit):
    assert times_of(path, [0, 1, 10**6], unit).tolist() == [0, 1, 10**6]


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        ([1, "", ""], "s", r"line 3: timestamp must be a finite number, got nan \(2 such lines\)"),
        ([1, "inf"], "s", r"line 3: timestamp must be a finite number, got inf \(1 such line\)"),
        ([1, "nan"], "s", "line 3: timestamp must be a finite number, got nan"),
        ([1, "-5"], "s", r"line 3: timestamp must be 0 or more .*, got -5 \(1 such line\)"),
        (
            [1, "2.5"],
            "s",
            "line 3: .* a whole number; write milliseconds .*timestamp_unit: ms, got",
        ),
        (
            [1, "2.5"],
            "ms",
            "line 3: timestamp must be a whole number of milliseconds; round it down, got 2.5",
        ),
        (
            [1, f"{NEW_YEAR}.25"],
            "ms",
            "line 3: .* of milliseconds; it looks like seconds, so multiply it by 1000, got",
        ),
        ([1, "2024-01-01"], "s", "line 3: timestamp must be a number, got '2024-01-01'"),
        (
            [1, NEW_YEAR * 1000],
            "s",
            "line 3: timestamp must be in seconds, got 1704067200000, which looks like "
            "milliseconds; set timestamp_unit: ms",
        ),
        (
            [1, NEW_YEAR],
            "ms",
            "line 3: timestamp must be in milliseconds, got 1704067200, which looks like seconds; "
            "set timestamp_unit: s",
        ),
        (
            [NEW_YEAR * 1000, 5, NEW_YEAR],
            "ms",
            "timestamp must have one unit, got what looks like seconds in line 4 .* and like "
            "milliseconds in line 2 .*; convert the column",
        ),
        ([NEW_YEAR * 10**6], "s", "line 2: .* looks like microseconds or nanoseconds; divide"),
    ],
)
def test_a_bad_time_is_refused_with_what_to_do(path, values, unit, message):
    with pytest.raises(DataError, match=message):
        times_of(path, values, unit)


# --- float sequences ---------------------------------------------------------------------------


def test_float_sequences_become_one_matrix(path):
    write_lines(path, "item_id:token\ttext:float_seq", [("i1", "1 -2.5"), ("i2", "1e-3  4")])
    matrix = parse_float_sequences(read_atomic(path), "text")
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, np.array([[1, -2.5], [1e-3, 4]], dtype=np.float32))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1 2", "1 2 3"], "line 3: text must hold 2 values as line 2 does, got 3"),
        (["1 2", ""], "line 3: text must hold 2 values as line 2 does, got 0"),
        (["", "1"], "line 2: text must hold at least 1 values as line 2 does, got 0"),
        (["1 2", "1 two"], "line 3: text must hold numbers separated by spaces, got '1 two'"),
    ],
)
def test_a_width_that_changes_or_a_word_is_refused(path, rows, message):
    write_lines(path, "item_id:token\ttext:float_seq", [("i", row) for row in rows])
    with pytest.raises(DataError, match=message):
        parse_float_sequences(read_atomic(path), "text")


# --- blocks and chunks ---------------------------------------------------------------------------

BAD = [
    b"a:token\tb:token\n1\t2\n3\n",
    b"a:token\tb:token\n1\t2\n4\n1\t2\t3\n",
    b"a:token\tb:token\n1\t2\n\n3\t4\n",
    b"a:token\n1\n\n3\n",
    b"a:token\n1\r\n2\r\n\r\n3\r\n",
    b"a:token\n1\nx\0y\n",
    b"a:token\tb:token\n1\t2\n1\t2\n1\t2\n\n\n1\t2\t3\n",
    b"a:token\tp:float\n1\t1\n1\t2\n1\t3\n1\tten\n1\televen\n",
    b"a:token\tp:float\n1\t1\n1\t2\nG\xfcltig\t3\n",
]
GOOD = [
    b"a:token\tb:token\n1\t2\n3\t4\n\n\r\n\n",
    b"a:token\tb:token\r\n1\t2\r\n3\t4\r\n1\t2",
    b"a:token\tp:float\tc:token_seq\nx\t1\tq r\ny\t\t\nx\tnan\ts\n",
]


def reading(path):
    """What a file gives: its columns as text, or its error."""
    try:
        frame = read_atomic(path).frame
    except DataError as error:
        return str(error)
    return {name: [str(value) for value in frame[name].astype(object)] for name in frame}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("content", BAD + GOOD)
def test_blocks_and_chunks_of_any_size_say_the_same(path, monkeypatch, content, size):
    whole = reading(write_bytes(path, content))
    assert isinstance(whole, str) is (content in BAD)
    monkeypatch.setattr(atomic, "_BYTES_AT_A_TIME", size)
    monkeypatch.setattr(atomic, "_ROWS_AT_A_TIME", size)
    assert reading(path) == whole


@pytest.mark.parametrize(
    ("size", "message"), [(1, "line 2: p must be a number, got 'ten'"), (9, "line 3 must be UTF-8")]
)
def test_a_bad_number_and_a_bad_letter_are_one_error(path, monkeypatch, size, message):
    monkeypatch.setattr(atomic, "_ROWS_AT_A_TIME", size)
    write_bytes(path, b"p:float\ta:token\nten\tx\n3\tG\xfcltig\n")
    with pytest.raises(DataError, match=message):
        read_atomic(path)


def test_a_token_column_keeps_each_token_once(path):
    write_lines(path, INTER, [("u", "i", 1), ("u", "j", 2), ("u", "i", 3)])
    column = read_atomic(path).token_column("item_id")
    assert column.tolist() == ["i", "j", "i"]
    assert column.categories.tolist() == ["i", "j"]
    assert column.codes.tolist() == [0, 1, 0]
