"""What a resumed run says of its costs is of all its processes."""

import json
import re

import pytest

from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

pytestmark = pytest.mark.integration

A_DAY = 86400.0
KEPT = {
    "seconds": A_DAY,
    "opening_seconds": 3600.0,
    "peak_memory_bytes": 2**50,
    "peak_is_own": True,
    "complete": True,
}


@pytest.fixture
def stopped(toy_path, tmp_path):
    """A run that was stopped after its first epoch of two."""

    def stop(_):
        raise KeyboardInterrupt

    run_dir = tmp_path / "run"
    settings = {**QUICK, "data_path": str(toy_path), "use_gpu": False}
    with pytest.raises(KeyboardInterrupt):
        quick_start.run("SASRec", "toy", overrides=settings, run_dir=run_dir, on_epoch=stop)
    return run_dir


def with_costs(run_dir, kept):
    """The state to go on from, of a process that has cost so much, or has not said how much."""
    path = run_dir / "checkpoint" / "last.pt"
    state = read_checkpoint(path)
    measured = state.pop("costs")
    assert measured["seconds"] > measured["opening_seconds"] > 0
    assert measured["peak_memory_bytes"] > 0
    state |= {} if kept is None else {"costs": kept}
    write_checkpoint(path, {k: v for k, v in state.items() if k not in ("format", "version")})


def resumed(run_dir):
    quick_start.resume(run_dir, on_finish=report_run)
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    return json.loads((run_dir / "metrics.json").read_text(encoding="utf-8")), page


def test_seconds_are_of_all_processes_and_the_peak_is_the_largest(stopped):
    with_costs(stopped, KEPT)
    metrics, page = resumed(stopped)
    assert metrics["seconds"] > A_DAY
    assert metrics["stages"]["opening"] > KEPT["opening_seconds"]
    assert metrics["peak_memory_mb"] == 2**30
    assert metrics["measured_whole_run"] is True
    assert "1,073,741,824 MiB" in page
    assert "24 h" in page
    assert not re.search(r"at least [\d.,]+ (s|min|h|MiB)", page)


def test_what_an_older_checkpoint_does_not_tell_is_said(stopped):
    with_costs(stopped, None)
    metrics, page = resumed(stopped)
    history = [json.loads(line) for line in (stopped / "history.jsonl").read_text().splitlines()]
    trained = sum(record["train_seconds"] + record["valid_seconds"] for record in history)
    assert metrics["seconds"] > trained
    assert metrics["measured_whole_run"] is False
    assert re.search(r"at least [\d.]+ s", page)
    assert re.search(r"at least [\d,]+ MiB", page) or metrics["peak_memory_of"] == "process"
