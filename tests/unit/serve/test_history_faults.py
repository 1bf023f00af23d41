"""Rows of a log that cannot be used: counted at once, or left out by reason."""

import re

import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_table import read_history_file, read_interaction_file

COLUMNS = HistoryColumns("user_id", "item_id", "timestamp", "s")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


BAD_LOG = """user_id,item_id,timestamp,note
u1,B1,10,
u1,,20,
u1,B2,20,
,B2,20,
u1,B3,soon,
u2,"B4,20,
u2,B4,30,"two
lines"
u2,B5
u2,B5,40,,
u2,B6,1700000000000,
u2,B7,-1,
u2,B8,,
u3,B9,1.5,
u3,B1,60,
u3,B2,70,
u3,B3,80,
u3,B4,90,
u3,B5,95,
u3,B6,97,
u3,B7,98,
u3,B8,99,
"""
REASONS = {
    "no item": 1,
    "no user": 1,
    "time is neither a number nor a date": 1,
    "line has a broken quotation": 1,
    "line has too few columns": 1,
    "line has too many columns": 1,
    "time is not in s": 2,
    "no time": 1,
    "time is no whole number": 1,
}


def test_all_bad_lines_are_counted_at_once_and_the_first_three_are_named(tmp_path):
    # u1: line 3; no user: 5; soon: 6; a quotation that never closes well: 7; too few: 10, many: 11.
    path = write(tmp_path / "h.csv", BAD_LOG)
    sentence = (
        f"{path}: 9 of 21 rows cannot be used: line 3: item_id must not be empty; line 5: user_id "
        f"must not be empty; line 6: timestamp must be a number or a date, got 'soon', ...; mend "
        f"them, or leave them out with --skip_bad"
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        read_interaction_file(path, COLUMNS)
    with pytest.raises(DataError, match=r"9 of 21 rows cannot be used: line 3: "):
        read_history_file(path, COLUMNS)
    lines = BAD_LOG.splitlines()
    path = write(tmp_path / "two.csv", "\n".join([*lines[:3], *lines[9:10], *lines[15:]]) + "\n")
    sentence = (
        "two.csv: 2 of 11 rows cannot be used: line 3: item_id must not be empty; line 4: "
        "timestamp must be a finite number, got nan; mend them, or leave them out with --skip_bad"
    )
    with pytest.raises(DataError, match=sentence):
        read_history_file(path, COLUMNS)


def test_bad_lines_are_left_out_and_counted_by_reason(tmp_path, caplog):
    path = write(tmp_path / "h.csv", BAD_LOG)
    raw, table = read_interaction_file(path, COLUMNS, skip_bad=True)
    items = ["B1", "B2", "B4", *(f"B{n}" for n in range(1, 9))]
    assert raw.items.tolist() == items
    assert raw.users[raw.user].tolist() == ["u1", "u1", "u2", *["u3"] * 8]
    assert raw.times.tolist() == [10, 20, 30, 60, 70, 80, 90, 95, 97, 98, 99]
    assert [table.line(row) for row in (1, 2, 3)] == [f"{path}, line {n}" for n in (4, 8, 16)]
    (text,) = [record.getMessage() for record in caplog.records]
    assert f"{path}: {sum(REASONS.values())} of 21 rows are left out: " in text
    for reason, count in REASONS.items():
        assert f'{count} of "{reason}" (' in text
    raw = read_history_file(path, COLUMNS, skip_bad=True)
    assert raw.items.tolist() == items


def test_a_file_of_which_most_cannot_be_used_is_refused(tmp_path):
    path = write(tmp_path / "h.csv", "user_id,item_id,timestamp\nu1,B1,1\nu1,,2\n,B1,3\n")
    sentence = (
        r"h\.csv must have more rows that can be used, got 2 of 3 that cannot: 1 of \"no user\" "
        r"\(line 4\); 1 of \"no item\" \(line 3\); mend it"
    )
    with pytest.raises(DataError, match=sentence):
        read_interaction_file(path, COLUMNS, skip_bad=True)
