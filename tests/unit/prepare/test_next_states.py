"""The next state of a data set: what is appended or replaced, and what stays to the last bit."""

import json
import signal
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
from amazonfiles import JULY, read_rows, write_raw

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.prepare.encode.tfidf import make_text_features
from recbole_hm4sr.prepare.tables import earlier

HEAD = "user_id,item_id,timestamp"
FIRST = ("u1,a", "u1,b", "u2,a", "u2,b", "u2,c")
ITEMS = ("item_id,title,price", "a,Red shoe,1", "b,Blue shoe,2", "c,Hat,3", "d,Red hat,4")


@pytest.fixture(autouse=True)
def monday(monkeypatch):
    monkeypatch.setattr(earlier, "_today", lambda: date(2026, 12, 7))


def log(folder, name, *lines):
    return write_raw(folder / f"{name}.csv", [HEAD, *lines])


def items(folder, name, *lines):
    return write_raw(folder / f"{name}.csv", lines)


def prepare(folder, interactions, table=None, **options):
    columns = {"title": "title", "price": "price"} if table else {}
    options = {"threads": 1, **columns, **options}
    return recbole_hm4sr.prepare(interactions, table, out=folder / "shop", **options)


@pytest.fixture
def first(tmp_path):
    """A data set of one core, by a table in which one user and item stand twice."""
    lines = [f"{pair},{JULY + n}" for n, pair in enumerate(FIRST)]
    path = log(tmp_path, "log", *lines, f"u1,a,{JULY + 9}")
    return prepare(tmp_path, path, items(tmp_path, "items", *ITEMS), core=2).folder


def inter(folder):
    return (folder / f"{folder.name}.inter").read_text().splitlines()


def test_what_comes_is_added_behind_and_what_is_there_stays(first, tmp_path):
    week = log(
        tmp_path,
        "week",
        f"new,e,{JULY + 20}",
        f"u1,a,{JULY - 5}",
        "u1,b,never",
        f"u1,d,{JULY + 21}",
    )
    more = items(tmp_path, "more", "item_id,title,price", "e,Green shoe,", "a,Red shoe,9", "b,,")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    done = prepare(tmp_path, week, more, change="append")
    assert done.folder == tmp_path / "shop-2026-12-07"
    # No core for a week; a pair that is there stays, though the new row of it is earlier.
    assert inter(done.folder) == [*inter(first), f"new\te\t{JULY + 20}", f"u1\td\t{JULY + 21}"]
    assert [row[1:] for row in read_rows(done.folder / f"{done.folder.name}.item")[1:]] == [
        ["Red shoe", "9.0"], ["Blue shoe", "2.0"], ["Hat", "3.0"], ["Red hat", "4.0"],
        ["Green shoe", ""],
    ]  # fmt: skip
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    written = json.loads((done.folder / "PROVENANCE.json").read_text())
    assert [entry["file"] for entry in written["inputs"]] == [
        "log.csv", "items.csv", "week.csv", "more.csv"
    ]  # fmt: skip
    assert written["options"]["earlier"] | {"sha256": ""} == {
        "how": "append", "data_set": "shop", "sha256": ""
    }  # fmt: skip
    step = written["steps"][0]
    assert step["earlier"] == {"shop": 4}
    assert [entry["first"] for entry in step["dropped"].values()] == [["week.csv, line 4"]]
    # The same files again are known; others on the same day are another state.
    assert prepare(tmp_path, week, more, change="append").is_known
    later = prepare(tmp_path, log(tmp_path, "next", f"new,a,{JULY + 30}"), change="append")
    assert later.folder.name == "shop-2026-12-07-2"
    assert inter(later.folder) == [*inter(done.folder), f"new\ta\t{JULY + 30}"]


def test_the_rows_of_known_words_are_those_of_the_first_encoder(first, tmp_path):
    fields = ("title",)
    old = load_features(make_text_features(first / "shop.item", fields, item_field="item_id"))
    save_features(
        first / "shop.image.npz",
        ItemFeatures(old.tokens, np.ones((4, 2), np.float32), "clip", "1", "shop"),
    )
    more = items(tmp_path, "more", "item_id,title,price", "e,Green shoe,")
    done = prepare(tmp_path, log(tmp_path, "week", f"u1,e,{JULY + 20}"), more, change="append")
    name = done.folder.name
    new = load_features(
        make_text_features(done.folder / f"{name}.item", fields, item_field="item_id")
    )
    assert old.tokens.tolist() == new.tokens.tolist()[:4] == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(old.values, new.values[:4])
    # "shoe" is known and "green" is not: the row of the two shoes' common word, of length 1.
    assert np.linalg.norm(new.values[4]) == pytest.approx(1, abs=1e-6)
    assert new.values[4] @ new.values[1] > new.values[4] @ new.values[2]
    assert load_features(done.folder / f"{name}.image.npz").encoder == "clip"
    # The next state keeps the same encoder, and so does one that is replaced.
    lines = [f"{pair},{JULY + n}" for n, pair in enumerate(FIRST[:4])]
    whole = prepare(
        tmp_path, log(tmp_path, "whole", *lines), items(tmp_path, "all", *ITEMS[:3]), core=2,
        change="replace",
    )  # fmt: skip
    again = load_features(
        make_text_features(whole.folder / f"{whole.folder.name}.item", fields, item_field="item_id")
    )
    np.testing.assert_array_equal(again.values, old.values[:2])
    assert len(inter(whole.folder)) == 5


def test_the_settings_of_the_data_set_are_kept(first, tmp_path):
    path = first / "shop.yaml"
    path.write_text(path.read_text() + "same_visit_gap: 1800  # half an hour\n")
    done = prepare(tmp_path, log(tmp_path, "week", f"u1,c,{JULY + 20}"), change="append")
    assert (done.folder / f"{done.folder.name}.yaml").read_text() == path.read_text()
    # Without items of its own a week keeps those that are there.
    assert len(read_rows(done.folder / f"{done.folder.name}.item")) == 5


@pytest.mark.parametrize(
    ("change", "lines", "options", "error", "message"),
    [
        ("append", [f"u1,c,{JULY}"], {"core": 2}, ConfigError, "--core must be left out with"),
        ("append", [f"u1,c,{JULY}"], {"keep_later": True}, ConfigError, "--keep_later must be"),
        ("append", [f"u1,c,{JULY}", f"u1,d,{JULY}.25"], {}, DataError,
         r"week\.csv, line 3: times must be whole seconds to be appended"),
        ("replace", [f"u1,c,{JULY}"], {"core": 0}, DataError,
         r"shop\.yaml names the columns title, which the new items do not have"),
        ("other", [f"u1,c,{JULY}"], {}, ConfigError, "change must be append or replace, got 'ot"),
    ],
)  # fmt: skip
def test_what_cannot_be_the_next_state_is_refused(
    first, tmp_path, change, lines, options, error, message
):
    there = sorted(path.name for path in tmp_path.iterdir() if "shop" in path.name)
    with pytest.raises(error, match=message):
        prepare(tmp_path, log(tmp_path, "week", *lines), change=change, **options)
    left = sorted(path.name for path in tmp_path.iterdir() if "shop" in path.name)
    assert [name for name in left if not name.endswith(".unfinished")] == there


def test_a_changed_table_is_not_appended_to_and_a_first_one_must_be_there(first, tmp_path):
    week = log(tmp_path, "week", f"u1,c,{JULY + 20}")
    with pytest.raises(ConfigError, match="must be of a data set that hm4sr prepare has made"):
        recbole_hm4sr.prepare(week, out=tmp_path / "other", change="append")
    with (first / "shop.inter").open("a") as file:
        file.write("u9\ta\t5\n")
    with pytest.raises(DataError, match=r"shop\.inter must be as hm4sr prepare has written it"):
        prepare(tmp_path, week, change="append")


def test_milliseconds_take_seconds_in(tmp_path):
    path = log(tmp_path, "log", f"u1,a,{JULY}.5", f"u2,a,{JULY + 1}")
    folder = prepare(tmp_path, path, core=0).folder
    done = prepare(tmp_path, log(tmp_path, "week", f"u1,b,{JULY + 9}"), change="append")
    assert inter(done.folder) == [*inter(folder), f"u1\tb\t{(JULY + 9) * 1000}"]


# Prepares, and is stopped by a signal when the report says a word.
STOPPED = """
import os, signal, sys
from pathlib import Path
import recbole_hm4sr
from recbole_hm4sr.prepare.tables import earlier, kept_features

week, out, word = sys.argv[1:]
def report(what, *_):
    if what.startswith(word):
        os.kill(os.getpid(), signal.SIGKILL)
if word == "encoder":
    kept_features._copy = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
recbole_hm4sr.prepare(Path(week), out=out, change="append", threads=1, report=report)
"""


def test_a_process_that_is_killed_leaves_the_states_as_they_were(first, tmp_path):
    features = ItemFeatures(np.array(["a"]), np.ones((1, 2), np.float32), "clip", "1", "shop")
    save_features(first / "shop.image.npz", features)
    week = log(tmp_path, "week", f"u1,c,{JULY + 20}")
    for word in ("reading week", "numbering", "encoder"):
        words = [sys.executable, "-c", STOPPED, week, first, word]
        stopped = subprocess.run(list(map(str, words)), capture_output=True, timeout=300)
        assert stopped.returncode == -signal.SIGKILL, stopped.stderr
        assert [it.name for it in tmp_path.iterdir() if "shop" in it.name and it.is_dir()] in (
            ["shop", ".shop.unfinished"], [".shop.unfinished", "shop"]
        )  # fmt: skip
    done = prepare(tmp_path, week, change="append")
    assert inter(done.folder) == [*inter(first), f"u1\tc\t{JULY + 20}"]
    assert (done.folder / f"{done.folder.name}.image.npz").is_file()
    assert not (tmp_path / ".shop.unfinished").exists()


def test_the_command_says_where_the_next_state_lies(first, tmp_path, capsys):
    week = log(tmp_path, "week", f"u1,c,{JULY + 20}")
    words = ["prepare", "csv", f"--interactions={week}", f"--out={first}", "--append"]
    for text in ("4 interactions of shop are kept", "shop-2026-12-07 has all of it: nothing to do"):
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(words)
        assert text in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main([*words, "--replace"])
    assert "must not be given together" in capsys.readouterr().err


def test_what_is_not_said_of_the_tables_is_as_before(tmp_path):
    def write(name, *lines):
        path = tmp_path / f"{name}.csv"
        path.write_bytes("\n".join(lines).encode("cp1252"))
        return path

    head, shop = "kunde;artikel;zeit;art", "nr;titel;gruppen"
    log = write(
        "log", head, "Jörg;ä;01.07.2014;kauf", "Jörg;ä;02.07.2014;kauf", "x;b;03.07.2014;kauf"
    )
    table = write("shop", shop, "ä;Schuh;A/B", "b;Hut;B")
    columns = {
        "user": "kunde", "item": "artikel", "time": "zeit", "unit": "date", "event": "art",
        "time_format": "%d.%m.%Y", "keep_events": ["kauf"], "encoding": "cp1252",
        "items_item": "nr", "title": "titel", "categories": "gruppen", "separator": "/",
    }  # fmt: skip
    out = tmp_path / "shop"
    rules = {"core": 0, "keep_later": True, "threads": 1}
    recbole_hm4sr.prepare(log, table, out=out, **columns, **rules)
    week = write("week", head, "Jörg;neu;04.07.2014;kauf", "x;b;05.07.2014;blick")
    # A state without items in between remembers how they are written.
    recbole_hm4sr.prepare(week, out=out, change="append", threads=1)
    more = write("more", shop, "neu;Rock;A/C")
    day = write("day", head, "x;neu;06.07.2014;kauf")
    done = recbole_hm4sr.prepare(day, more, out=out, change="append", threads=1)
    july = 1404172800  # 2014-07-01T00:00:00Z
    expected = [("Jörg", "ä", 0), ("Jörg", "ä", 1), ("x", "b", 2), ("Jörg", "neu", 3),
                ("x", "neu", 5)]  # fmt: skip
    assert inter(done.folder)[1:] == [
        f"{user}\t{item}\t{july + n * 86400}" for user, item, n in expected
    ]
    assert read_rows(done.folder / f"{done.folder.name}.item")[1:] == [
        ["b", "Hut", "B", "B"], ["neu", "Rock", "A > C", "A C"], ["ä", "Schuh", "A > B", "A B"]
    ]  # fmt: skip
    # The core of the whole log is that of the last whole one; what is given wins.
    whole = recbole_hm4sr.prepare(log, table, out=out, change="replace", threads=1)
    assert inter(whole.folder) == inter(done.folder)[:4]
    plain = write("plain", "user;artikel;zeit", f"u;b;{july}")
    own = {"user": "user", "unit": "s", "event": "", "encoding": "utf-8"}
    again = recbole_hm4sr.prepare(plain, table, out=out, change="replace", threads=1, **own)
    assert inter(again.folder)[1:] == [f"u\tb\t{july}"]
