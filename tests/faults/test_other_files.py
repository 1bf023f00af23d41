"""Damaged files that a command reads beside its inputs, and the command line as a process."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from faultkit import copy_place, snapshot
from test_fault_table import FAULTS

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.compare.results import latest_results
from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.run.place import require_free_folder

pytestmark = pytest.mark.integration
# One of each kind; the table runs them all in this process.
PROCESSES = (
    "flag: unknown command",
    "flag: twice",
    "time NaN",
    "features: tokens as objects",
    "checkpoint: one altered byte",
)


@pytest.mark.parametrize("name", PROCESSES[:2])
def test_the_process_ends_with_one_line_and_code_2(name, tmp_path):
    fault = next(fault for fault in FAULTS if fault.name == name)
    assert_process(fault, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES[2:])
def test_the_process_with_torch_ends_so_too(name, template, tmp_path):
    fault = next(fault for fault in FAULTS if fault.name.endswith(name))
    place = copy_place(template, tmp_path / "place")
    fault.spoil(place)
    assert_process(fault, place)


def assert_process(fault, place):
    before = snapshot(place)
    code = "import sys; from recbole_hm4sr import cli; cli.main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *fault.command],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,  # an endless loop, not a slow machine
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert snapshot(place) == before


@pytest.mark.parametrize("content", [b"", b"not json\n", b'{"epoch": 1}\n', b"\xff\xfe"])
def test_a_damaged_history_is_mended_from_the_checkpoint(place, content):
    path = place / "done" / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--resume=done"])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"\xff"])
def test_a_damaged_metrics_file_is_written_anew(place, content):
    path = place / "done" / "metrics.json"
    whole = json.loads(path.read_text())
    path.write_bytes(content)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--resume=done"])
    assert json.loads(path.read_text())["test"] == whole["test"]


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"fingerprint": "1"}',
        b'{"fingerprint": "1", "dataset": [], "label": "a", "seed": 1, "status": "done"}',
        b'{"fingerprint": "1", "dataset": "a", "label": "a", "seed": 1, "status": "done"}',
    ],
)
def test_a_line_of_results_that_is_none_is_left_out(tmp_path, line):
    record = {"dataset": "a", "label": "b", "seed": 1, "fingerprint": "2", "status": "failed"}
    record |= {"reason": "r"}
    path = tmp_path / "results.jsonl"
    path.write_bytes(line + b"\n" + json.dumps(record).encode() + b"\n")
    assert latest_results(path) == {("a", "b", 1, "2"): record}


def test_ranks_of_a_run_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "test_ranks.npz"
    for content in (b"", b"PK\x03\x04", b"text", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read the ranks of a run, .*test_ranks\.npz"):
            read_ranks(tmp_path)
    np.savez(path, user=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"cannot read the ranks of a run, .*test_ranks\.npz"):
        read_ranks(tmp_path)


def test_a_run_s_folder_must_be_one_that_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    require_free_folder(tmp_path / "new" / "deep")
    for folder in (file, file / "run", file / "a" / "b"):
        with pytest.raises(ConfigError, match="run_dir must be a folder that can be written"):
            require_free_folder(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
