"""What the next state of a data set from Amazon's files remembers of the one before."""

import json
from datetime import date

import pytest
from amazonfiles import JULY, item, read_rows, reviews, write_raw

from recbole_hm4sr import cli
from recbole_hm4sr.prepare.tables import earlier

ROWS = [("u1", "a", JULY), ("u1", "a", JULY + 9), ("u2", "b", JULY + 1)]


@pytest.fixture(autouse=True)
def monday(monkeypatch):
    monkeypatch.setattr(earlier, "_today", lambda: date(2026, 12, 7))


def prepare(folder, rows, *flags):
    """Run the command on some reviews and three items; returns its exit code."""
    log = write_raw(folder / "reviews.json", reviews(2018, rows))
    meta = write_raw(folder / "meta.json", [item(2018, name) for name in "abc"])
    words = [f"--reviews={log}", f"--meta={meta}", f"--out={folder / 'shop'}", "--threads=1"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "amazon", *words, *flags])
    return stop.value.code


def tables(folder, name):
    path = folder / name
    return (
        [row[:2] for row in read_rows(path / f"{name}.inter")[1:]],
        [row[0] for row in read_rows(path / f"{name}.item")[1:]],
    )


def test_what_is_kept_is_as_before_and_a_flag_that_is_given_wins(tmp_path):
    assert prepare(tmp_path, ROWS, "--core=0", "--keep_later", "--keep_items=all") == 0
    first = [["u1", "a"], ["u1", "a"], ["u2", "b"]]
    assert tables(tmp_path, "shop") == (first, ["a", "b", "c"])
    week = [("u2", "b", JULY + 30), ("u2", "b", JULY + 60)]
    assert prepare(tmp_path, week, "--append") == 0
    rows, items = tables(tmp_path, "shop-2026-12-07")
    assert (rows, items) == ([*first, ["u2", "b"], ["u2", "b"]], ["a", "b", "c"])
    assert prepare(tmp_path, ROWS, "--replace") == 0  # its core too is that of before: none
    assert tables(tmp_path, "shop-2026-12-07-2") == (first, ["a", "b", "c"])
    assert prepare(tmp_path, ROWS, "--replace", "--keep_items=interacted") == 0
    assert tables(tmp_path, "shop-2026-12-07-3") == (first, ["a", "b"])
    options = json.loads((tmp_path / "shop-2026-12-07-3" / "PROVENANCE.json").read_text())
    assert options["options"]["keep_later"] is True


def test_a_first_state_keeps_what_it_kept_by_default(tmp_path):
    assert prepare(tmp_path, ROWS, "--core=0") == 0
    assert tables(tmp_path, "shop") == ([["u1", "a"], ["u2", "b"]], ["a", "b"])
