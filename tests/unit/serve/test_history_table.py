"""Histories from files, data frames and lists: read alike, and refused with the place."""

import dataclasses
import datetime
import gzip
import logging
import re

import numpy as np
import pandas as pd
import pytest

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_table import (
    histories_from_frame,
    histories_from_lists,
    read_history_file,
    read_interaction_file,
)
from recbole_hm4sr.serve.history_times import read_moment

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
        ("user_id,item_id\nu1,B1\n", "misses the column timestamp, got user_id, item_id"),
        ("", "must be a whole CSV file|misses the columns"),
        ("u1,B1,10\n", "misses the columns user_id, item_id and timestamp, got u1, B1, 10"),
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
        (
            "user_id,item_id,timestamp\nu1,B1,1\nu1,B1,1,7\n",
            "h.csv, line 3 has too many columns; mend",
        ),
        ("user_id,item_id,timestamp\nu1,B1,1,7\n", "h.csv, line 2 has too many columns; mend"),
        (
            'user_id,item_id,timestamp\nu1,"B1,1\n',
            "h.csv, line 2 has a broken quotation; mend it, or leave",
        ),
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
        ([(["B1"], ["soon"])], r"histories\[0\], interaction 0: times must be a number or a date"),
    ],
)
def test_wrong_lists_are_refused_with_the_place(histories, message):
    with pytest.raises(DataError, match=message):
        histories_from_lists(histories, "s")


def test_a_wrong_data_frame_is_refused_with_the_row():
    frame = pd.DataFrame({"user_id": ["u", "u"], "item_id": ["B", "B"], "timestamp": ["1", "soon"]})
    with pytest.raises(DataError, match="row 1: timestamp must be a number or a date, got 's"):
        histories_from_frame(frame, COLUMNS)
    with pytest.raises(DataError, match="histories, row 0: item_id must be a text"):
        histories_from_frame(frame.assign(item_id=[1.5, 2.5], timestamp=1), COLUMNS)


# --- as the tables that a data set was prepared from ---------------------------------------------

MOMENT = 1_709_287_200  # 2024-03-01T10:00:00Z
SHOP = InteractionColumns("kunde", "artikel", "zeit", "date", "%d.%m.%Y %H:%M", "cp1252")
REMEMBERED = dataclasses.replace(COLUMNS, source=SHOP)


def test_the_columns_forms_and_encoding_of_the_source_are_remembered(tmp_path):
    text = "kunde;artikel;zeit\nMüller;B1;01.03.2024 10:00\nMüller;B2;29.02.2024 10:00\n"
    path = tmp_path / "h.csv"
    path.write_bytes(text.encode("cp1252"))
    expected = (["Müller"], [0, 0], ["B1", "B2"], [MOMENT, MOMENT - 86400])
    assert parts(read_history_file(path, REMEMBERED)) == expected
    path.write_text(text, encoding="utf-8")
    assert parts(read_history_file(path, REMEMBERED)) == expected
    own = write(tmp_path / "own.csv", f"user_id,item_id,timestamp\nMüller,B1,{MOMENT}\n")
    assert parts(read_history_file(own, REMEMBERED)) == (["Müller"], [0], ["B1"], [MOMENT])
    write(path, text.replace("29.02", "30.02"))
    sentence = "line 3: zeit must be a date of the form %d.%m.%Y %H:%M, got '30.02.2024 10:00'"
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_history_file(path, REMEMBERED)
    write(path, "kunde;artikel\nu;B1\n")
    sentence = "misses the column zeit (--time of hm4sr prepare csv), got kunde, artikel"
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_history_file(path, REMEMBERED)
    flags = dataclasses.replace(REMEMBERED, has_flags=True)
    with pytest.raises(DataError, match=re.escape("misses the column zeit (--time), got")):
        read_history_file(path, flags)
    write(path, "user_id,artikel\nu,B1\n")  # as far from either form: the shop's is named
    sentence = "misses the columns kunde (--user) and zeit (--time), got user_id, artikel"
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_history_file(path, flags)


def test_what_is_said_of_a_file_wins_over_what_is_remembered(tmp_path):
    path = write(tmp_path / "h.csv", f"kunde,item_id,t\nu,B1,{MOMENT}999\n")
    given = {"user": "kunde", "item": "item_id", "time": "t", "unit": "ms"}
    columns = dataclasses.replace(REMEMBERED, given=given)
    assert parts(read_history_file(path, columns)) == (["u"], [0], ["B1"], [MOMENT])
    path = write(tmp_path / "own.csv", f"user_id,item_id,timestamp\nu,B1,{MOMENT}999\n")
    columns = dataclasses.replace(REMEMBERED, given={"unit": "ms"})
    assert read_history_file(path, columns).times.tolist() == [MOMENT]
    path.write_bytes(path.read_bytes().decode().encode("utf-16"))
    columns = dataclasses.replace(REMEMBERED, given={"unit": "ms", "encoding": "utf-16"})
    assert read_history_file(path, columns).times.tolist() == [MOMENT]


@pytest.mark.parametrize(
    "times",
    [
        ["2024-03-01T10:00:00Z", "2024-03-01 12:00:00+02:00", ""],
        ["2024-03-01T10:00:00.9", str(MOMENT), None],
        pd.to_datetime(["2024-03-01 10:00:00.999", "2024-03-01 10:00:00.001", None]),
        pd.to_datetime(["2024-03-01 10:00", "2024-03-01 10:00", None]).tz_localize("UTC"),
        pd.to_datetime(["2024-03-01 12:00"] * 2 + [None]).tz_localize("Europe/Berlin")
        - pd.Timedelta(hours=1),
        [datetime.datetime(2024, 3, 1, 10, 0, 0, 5), datetime.datetime(2024, 3, 1, 10), None],
        [MOMENT, float(MOMENT), None],
        pd.array([MOMENT, MOMENT, None], dtype="Int64"),
    ],
)
def test_dates_and_moments_are_times(times):
    frame = pd.DataFrame({"user_id": ["u"] * 3, "item_id": ["B1", "B2", ""], "timestamp": times})
    assert histories_from_frame(frame, COLUMNS).times.tolist() == [MOMENT, MOMENT]
    columns = dataclasses.replace(COLUMNS, unit="ms")
    of_text = frame.assign(timestamp=["2024-03-01T10:00:00.25", "2024-03-01", None])
    found = histories_from_frame(of_text, columns).times.tolist()
    assert found == [1000 * MOMENT + 250, 1000 * (MOMENT - 36000)]


def test_seconds_with_parts_are_milliseconds_of_the_run():
    source = InteractionColumns("u", "i", "t", "s")
    columns = HistoryColumns("user_id", "item_id", "timestamp", "ms", source=source)
    times = [MOMENT + 0.001, MOMENT + 0.1239]
    frame = pd.DataFrame({"u": ["a", "a"], "i": ["B1", "B2"], "t": times})
    found = histories_from_frame(frame, columns).times
    assert found.tolist() == [1000 * MOMENT + 1, 1000 * MOMENT + 123]


@pytest.mark.parametrize(
    "literal",
    [
        "TIMESTAMP '2024-03-01 10:00:00.5'",
        "TIMESTAMPTZ '2024-03-01 12:00:00+02:00'",
        "TIMESTAMP_NS '2024-03-01 10:00:00'",
        "'2024-03-01T10:00:00Z'",
        "1709287200",
    ],
)
def test_moments_of_parquet_files_are_times(tmp_path, literal):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "h.parquet"
    duckdb.sql(
        f"COPY (SELECT 'u' user_id, 7 item_id, {literal} AS timestamp UNION ALL SELECT 'v', NULL, "
        f"NULL) TO '{path}'"
    )
    raw = read_history_file(path, COLUMNS)
    assert (raw.users.tolist(), raw.items.tolist(), raw.times.tolist()) == (
        ["u", "v"],
        ["7"],
        [MOMENT],
    )
    duckdb.sql(f"COPY (SELECT 'u' user_id, 7 item_id, DATE '1970-01-02' timestamp) TO '{path}'")
    assert read_history_file(path, COLUMNS).times.tolist() == [86400]
    duckdb.sql(f"COPY (SELECT 'u' user_id, 7 item_id, true AS timestamp) TO '{path}'")
    with pytest.raises(DataError, match="column 'timestamp' must hold numbers or dates, got bool"):
        read_history_file(path, COLUMNS)


def test_rows_of_other_events_are_left_out_and_lines_stay_those_of_the_file(tmp_path, caplog):
    source = InteractionColumns("user_id", "item_id", "t", event="what", keep_events=("buy", "add"))
    columns = dataclasses.replace(COLUMNS, source=source)
    text = "user_id,item_id,t,what\nu,,,search\nu,B1,5,buy\nu,B2,6,view\nu,B3,7,add\n"
    path = write(tmp_path / "h.csv", text)
    with caplog.at_level(logging.INFO):
        assert parts(read_history_file(path, columns)) == (["u"], [0, 0], ["B1", "B3"], [5, 7])
    assert "2 of 4 rows are left out, since what is not buy, add" in caplog.text
    write(path, text + "u,B4,-1,buy\n")
    with pytest.raises(DataError, match="line 6: t must be 0 or more"):
        read_history_file(path, columns)
    write(path, text + "u,B4,no,buy\n")
    with pytest.raises(DataError, match="line 6: t must be a number or a date, got 'no'"):
        read_history_file(path, columns)
    write(path, text)
    raw, table = read_interaction_file(path, columns)
    assert (raw.items[1], table.line(1)) == ("B3", f"{path}, line 5")


def test_one_moment_is_read_in_any_form():
    naive = datetime.datetime(2024, 3, 1, 10)
    aware = naive.replace(tzinfo=datetime.timezone.utc)
    texts = (str(MOMENT), "2024-03-01T10:00:00.5Z", "2024-03-01 12:00+02:00")
    for value in (MOMENT, *texts, naive, aware):
        assert read_moment(value, "s") == MOMENT
    assert read_moment("2024-03-01T10:00:00.5Z", "ms") == 1000 * MOMENT + 500
    assert read_moment(None, "s") is None
    for value in ("soon", "1969-12-31", "", "31.12.2024", True, 1.5):
        with pytest.raises(ConfigError, match=r"must be a number or a date of ISO 8601 from 1970"):
            read_moment(value, "s")
