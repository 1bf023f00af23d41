"""``hm4sr prepare amazon``: a whole folder or none, whatever stops it."""

import hashlib
import json
import signal
import subprocess
import sys

import pytest
from amazonfiles import JULY, item, prepare, read_inter, reviews, write_raw

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation


def test_a_finished_folder_is_not_overwritten(tmp_path):
    out, _ = prepare(tmp_path, reviews(2018, [("U1", "B1")]))
    before = (out / "shop.inter").read_bytes()
    with pytest.raises(DataError, match=r"must be new or empty, got one with a finished data set"):
        prepare(tmp_path, reviews(2018, [("U2", "B2")]))
    assert (out / "shop.inter").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "reviews.json"}


def test_a_stopped_run_leaves_no_data_set_and_goes_on_behind_its_last_stage(tmp_path):
    lines = reviews(2018, [("U1", "B1"), ("U1", "B2"), ("U2", "B1"), ("U2", "B2")])
    path = write_raw(tmp_path / "reviews.json", lines)
    meta = write_raw(tmp_path / "meta.json", [item(2018, "B1")])
    job = Preparation(tmp_path / "shop", core=2, threads=1)

    def stop_at(word):
        def report(what, done, total):
            said.append(what)
            if word in what:
                raise KeyboardInterrupt

        return report

    for word in ("reading reviews", "round 1", "reading meta", "writing", "never"):
        said = []
        try:
            provenance = prepare_amazon([path], [meta], job, report=stop_at(word))
        except KeyboardInterrupt:
            assert not (tmp_path / "shop").exists()
    assert set(said) == {"writing"}  # the stages before it were finished by the calls before
    at_once = prepare_amazon([path], [meta], Preparation(tmp_path / "once/shop", core=2, threads=1))
    varying = {"made_at": ""}
    assert provenance | varying == at_once | varying
    assert not job.work.exists()


# Prepares, and is stopped by a signal when the report says a word for a given time.
STOPPED = """
import os, signal, sys
from pathlib import Path
from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation

reviews, meta, out, number, word, place = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)
left = int(place)

def report(what, done, total):
    global left
    if what.startswith(word):
        left -= 1
        if not left:
            os.kill(os.getpid(), int(number))

job = Preparation(Path(out), core=5, threads=1)
prepare_amazon([Path(reviews)], [Path(meta)], job, report=report)
"""


def test_a_killed_process_leaves_no_data_set_and_the_next_goes_on(tmp_path):
    """Each process of the chain goes on behind the one before it and is killed further on."""
    rows = [(f"U{n % 101}", f"B{n % 53}", JULY + n) for n in range(4000)]
    path = write_raw(tmp_path / "reviews.json", reviews(2018, rows))
    meta = write_raw(tmp_path / "meta.json", [item(2018, f"B{n}") for n in range(53)])
    out = tmp_path / "killed/shop"
    out.parent.mkdir()
    # The first is killed in the middle of the file, which has several blocks.
    for word, place in (("reading reviews", 3), ("numbering", 1), ("5-core, round 1", 1),
                        ("reading meta", 1), ("writing", 1)):  # fmt: skip
        words = [path, meta, out, signal.SIGKILL.value, word, place]
        stopped = subprocess.run(
            [sys.executable, "-c", STOPPED, *map(str, words)], capture_output=True, timeout=300
        )
        assert stopped.returncode == -signal.SIGKILL, stopped.stderr
        assert [entry.name for entry in out.parent.iterdir()] == [".shop.unfinished"]
    said = []
    job = Preparation(out, core=5, threads=1)
    provenance = prepare_amazon([path], [meta], job, report=lambda what, *_: said.append(what))
    assert set(said) == {"writing"}
    at_once = prepare_amazon([path], [meta], Preparation(tmp_path / "once/shop", core=5, threads=1))
    assert provenance | {"made_at": ""} == at_once | {"made_at": ""}
    for name in ("shop.inter", "shop.item", "shop.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "once/shop" / name).read_bytes()
    assert [entry.name for entry in out.parent.iterdir()] == ["shop"]


def test_a_process_killed_while_it_writes_leaves_no_folder_of_that_name(tmp_path):
    path = write_raw(tmp_path / "reviews.json", reviews(2018, [("U1", "B1"), ("U2", "B1")]))
    out = tmp_path / "killed/shop"
    killed = """
import os, signal, sys
from pathlib import Path
from recbole_hm4sr.prepare.tables import atomic_folder
from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation

atomic_folder.write_text = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # the interactions stand
prepare_amazon([Path(sys.argv[1])], [], Preparation(Path(sys.argv[2]), core=0, threads=1))
"""
    words = [sys.executable, "-c", killed, str(path), str(out)]
    stopped = subprocess.run(words, capture_output=True, timeout=300)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert (out.parent / ".shop.unfinished/dataset/shop.inter").is_file()
    assert not out.exists()
    prepare_amazon([path], [], Preparation(out, core=0, threads=1))
    assert read_inter(out) == [("U1", "B1", JULY), ("U2", "B1", JULY)]


def test_ctrl_c_inside_the_engine_is_an_interruption(tmp_path):
    """DuckDB raises a RuntimeError there, which would be a traceback."""
    script = """
import os, signal, threading
from pathlib import Path
import sys
from recbole_hm4sr.prepare.tables.tables import WorkTables

signal.signal(signal.SIGINT, signal.default_int_handler)
with WorkTables(Path(sys.argv[1]), memory="1GB", threads=1) as tables:
    try:
        with tables.stage("long"):
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            tables.run("SELECT count(*) FROM range(20000) a, range(1000000) b "
                       "WHERE a.range * b.range % 7 = 3")
    except KeyboardInterrupt:
        print("interrupted", tables.finished("long"))
"""
    words = [sys.executable, "-c", script, str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, timeout=300, text=True)
    assert ended.stdout == "interrupted None\n", ended.stderr


def test_half_done_work_on_other_files_is_not_taken_over(tmp_path):
    def stop(what, done, total):
        if what == "writing":
            raise KeyboardInterrupt("stopped")

    path = write_raw(tmp_path / "reviews.json", reviews(2018, [("U1", "B1")]))
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        prepare_amazon([path], [], Preparation(tmp_path / "shop", core=0, threads=1), report=stop)
    out, _ = prepare(tmp_path, reviews(2018, [("U22", "B22")]))
    assert read_inter(out) == [("U22", "B22", JULY)]


def test_provenance_has_hashes_versions_and_sizes(tmp_path):

    out, provenance = prepare(tmp_path, reviews(2018, [("U1", "B1")]))
    raw = (tmp_path / "reviews.json").read_bytes()
    assert provenance == json.loads((out / "PROVENANCE.json").read_text())
    assert provenance["inputs"][0]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert provenance["inputs"][0]["n_bytes"] == len(raw)
    assert set(provenance["versions"]) == {"recbole-hm4sr", "python", "duckdb", "orjson"}
    written = {entry["file"]: entry["sha256"] for entry in provenance["outputs"]}
    assert written["shop.inter"] == hashlib.sha256((out / "shop.inter").read_bytes()).hexdigest()
    assert str(tmp_path) not in (out / "PROVENANCE.json").read_text()
