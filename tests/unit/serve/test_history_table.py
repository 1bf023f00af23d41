"""Histories from files, data frames and lists: read alike, and refused with the place."""

import gzip

import numpy as np
import pandas as pd
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.serve.history_table import (
    HistoryColumns,
    histories_from_frame,
    histories_from_lists,
    read_history_file,
)

COLUMNS = HistoryColumns("user_id", "item_id", "timestamp", "s")
ROWS = [("u2", "B1", 30), ("u1", "B2", 20), ("u2", "007", 10)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def parts(raw):
    return raw.users.tolist(), raw.user.tolist(), raw.items.tolist(), raw.times.tolist()


EXPECTED = (["u2", "u1"], [0, 1, 0], ["B1", "B2", "007"], [30, 20, 10])


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_is_read_whatever_its_sign(tmp_path, sign, end):
    lines = ["user_id,item_id,timestamp", *(f"{u},{i},{t}" for u, i, t in ROWS)]
    path = tmp_path / "h.csv"
    path.write_bytes("".join(line.replace(",", sign) + end for line in lines).encode())
    raw = read_history_file(path, COLUMNS)
    assert parts(raw) == EXPECTED
    assert raw.times.dtype == np.int64


def test_other_columns_blank_ends_and_quotes_do_no_harm(tmp_path):
    text = 'price,timestamp,"item_id",user_id\n1.5,30,B1,u2\n,20,B2,u1\nx,10,"007",u2\n\n\n'
    assert parts(read_history_file(write(tmp_path / "h.csv", text), COLUMNS)) == EXPECTED
    with gzip.open(tmp_path / "h.csv.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert parts(read_history_file(tmp_path / "h.csv.gz", COLUMNS)) == EXPECTED


def test_a_parquet_file_is_read(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "h.parquet"
    values = ", ".join(f"('{u}', '{i}', {t})" for u, i, t in ROWS)
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {values}) t(user_id, item_id, timestamp)) TO '{path}'")
    assert parts(read_history_file(path, COLUMNS)) == EXPECTED
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="must be a whole Parquet file"):
        read_history_file(path, COLUMNS)


def test_a_data_frame_gives_the_same(tmp_path):
    frame = pd.DataFrame(ROWS, columns=["user_id", "item_id", "timestamp"])
    assert parts(histories_from_frame(frame, COLUMNS)) == EXPECTED
    numbers = pd.DataFrame({"user_id": [4], "item_id": [11], "timestamp": [5.0]})
    assert parts(histories_from_frame(numbers, COLUMNS)) == (["4"], [0], ["11"], [5])


def test_lists_name_users_by_their_place():
    raw = histories_from_lists([(["B1", "B2"], [30, 20]), ([], []), (["B1"], [5])], "s")
    assert parts(raw) == ([0, 1, 2], [0, 0, 2], ["B1", "B2", "B1"], [30, 20, 5])
    assert parts(histories_from_lists([], "s")) == ([], [], [], [])


def test_a_user_alone_is_a_user_without_history(tmp_path):
    text = "user_id,item_id,timestamp\nu1,B1,10\nu9,,\nu2,B2,20\n"
    raw = read_history_file(write(tmp_path / "h.csv", text), COLUMNS)
    assert parts(raw) == (["u1", "u9", "u2"], [0, 2], ["B1", "B2"], [10, 20])


def test_large_times_keep_every_digit():
    milliseconds = HistoryColumns("user_id", "item_id", "timestamp", "ms")
    moments = [1_700_000_000_123, 4_102_444_800_001]  # the second lies in the year 2100
    frame = pd.DataFrame({"user_id": "u", "item_id": "B1", "timestamp": moments})
    assert histories_from_frame(frame, milliseconds).times.tolist() == moments


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([5, 1_700_000_000], "row 1: .* like seconds; the run counts in milliseconds, so multiply"),
        ([1_700_000_000.25], "row 0: .*; it looks like seconds, so multiply it by 1000, got"),
        ([1_700_000_000, 1_700_000_000_000], "seconds in row 0 .* milliseconds in row 1"),
    ],
)
def test_other_units_than_milliseconds_are_refused_with_what_to_do(times, message):
    milliseconds = HistoryColumns("user_id", "item_id", "timestamp", "ms")
    frame = pd.DataFrame({"user_id": "u", "item_id": "B1", "timestamp": times})
    with pytest.raises(DataError, match=message):
        histories_from_frame(frame, milliseconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id\nu1,B1\n", "must have the columns user_id, item_id and timestamp"),
        ("", "must be a whole CSV file|must have the columns"),
        ("u1,B1,10\n", "must have the columns"),
        ("user_id,item_id,timestamp\nu1,B1,10\nu1,B2,soon\n", "line 3: timestamp must be a number"),
        (
            "user_id,item_id,timestamp\nu1,B1,1.5\n",
            "line 2: timestamp must be a whole number of seconds; round it ",
        ),
        ("user_id,item_id,timestamp\nu1,B1,-5\n", "line 2: timestamp must be 0 or more"),
        ("user_id,item_id,timestamp\nu1,B1,inf\n", "line 2: timestamp must be a finite number"),
        ("user_id,item_id,timestamp\nu1,B1,\n", "line 2: timestamp must be a finite number"),
        (
            "user_id,item_id,timestamp\nu1,B1,1700000000000\n",
            "line 2: .* looks like milliseconds; the run counts in seconds, so divide timestamp by "
            "1000 and round down",
        ),
        ("user_id,item_id,timestamp\nu1,,10\n", "line 2: item_id must not be empty"),
        ("user_id,item_id,timestamp\nu1,B1,1\n,B1,10\n", "line 3: user_id must not be empty"),
        ("user_id,item_id,timestamp\n\nu1,B1,1\n", "line 2: user_id must not be empty"),
        ("user_id,item_id,timestamp\nu1,B1,1\nu1,B1,1,7\n", "Expected 3 fields in line 3, saw 4"),
        ("user_id,item_id,timestamp\nu1,B1,1,7\n", "must be a whole CSV file"),
        ('user_id,item_id,timestamp\nu1,"B1,1\n', "EOF inside string"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_history_file(write(tmp_path / "h.csv", text), COLUMNS)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "h.csv"
    path.write_bytes(b"user_id,item_id,timestamp\nu1,\xff\xfe,10\n")
    with pytest.raises(DataError, match="must be a whole CSV file in UTF-8"):
        read_history_file(path, COLUMNS)
    with pytest.raises(DataError, match="does not exist"):
        read_history_file(tmp_path / "none.csv", COLUMNS)


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ([(["B1"], [1, 2])], r"histories\[0\] must be a pair of as many items as times"),
        ([(["B1"], [1]), "B2"], r"histories\[1\] must be a pair"),
        ([(["B1"], [1]), (["B1", 2.5], [1, 2])], r"histories\[1\], interaction 1: items must be"),
        ([(["B1"], [1]), (["B1", ""], [1, 2])], r"histories\[1\], interaction 1: items must not"),
        ([(["B1"], [1]), (["B1", "B2"], [1, -2])], r"histories\[1\], interaction 1: times must be"),
        ([(["B1"], ["soon"])], "times of histories must be whole numbers"),
    ],
)
def test_wrong_lists_are_refused_with_the_place(histories, message):
    with pytest.raises(DataError, match=message):
        histories_from_lists(histories, "s")


def test_a_wrong_data_frame_is_refused_with_the_row():
    frame = pd.DataFrame({"user_id": ["u", "u"], "item_id": ["B", "B"], "timestamp": ["1", "soon"]})
    with pytest.raises(DataError, match="histories, row 1: timestamp must be a number, got 'soon'"):
        histories_from_frame(frame, COLUMNS)
    with pytest.raises(DataError, match="histories, row 0: item_id must be a text"):
        histories_from_frame(frame.assign(item_id=[1.5, 2.5], timestamp=1), COLUMNS)
