"""A bar over steps: in a terminal by default, nowhere else, and it vanishes."""

import io
import re
import sys
import threading

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.evaluate.step_bar import StepBar, shows_bar
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK


class Stream(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def streams(monkeypatch):
    def put(*, out, err):
        monkeypatch.setattr(sys, "stdout", Stream(terminal=out))
        monkeypatch.setattr(sys, "stderr", Stream(terminal=err))
        return sys.stderr

    return put


@pytest.mark.parametrize(
    ("out", "err", "setting", "shown"),
    [
        (True, True, None, True),
        (False, True, None, False),  # | tee log
        (True, False, None, False),  # 2> log
        (True, True, False, False),
        (False, False, True, True),
    ],
)
def test_a_bar_is_shown_in_a_terminal_unless_the_setting_says_otherwise(
    streams, out, err, setting, shown
):
    streams(out=out, err=err)
    assert shows_bar(setting) is shown


def test_without_standard_streams_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert shows_bar(None) is False


def test_of_several_processes_the_first_shows_it(monkeypatch):
    monkeypatch.setattr("recbole_hm4sr.parallel.processes.rank", lambda: 1)
    assert shows_bar(True) is False


def test_a_bar_counts_the_steps_and_vanishes(streams):
    stream, threads = streams(out=True, err=True), threading.active_count()
    batches = ["a", "b", "c"]
    assert list(StepBar(shown=True).over(batches, "epoch 7")) == batches
    said = stream.getvalue()
    assert "epoch 7" in said
    assert "0/3" in said
    assert said.split("\r")[-2].strip() == ""  # blanks over it, and back to the beginning
    assert threading.active_count() == threads


def test_no_bar_gives_the_batches_themselves(streams):
    stream, batches = streams(out=True, err=True), [1, 2]
    assert StepBar(shown=False).over(batches, "epoch 1") is batches
    assert stream.getvalue() == ""


def test_a_bar_whose_loop_has_ended_early_is_removed(streams):
    stream, bar = streams(out=True, err=True), StepBar(shown=True)
    steps = iter(bar.over([1, 2], "epoch 1"))
    next(steps)  # held, as the traceback of an error holds it
    assert "epoch 1" in stream.getvalue().split("\r")[-1]
    bar.close()
    assert stream.getvalue().split("\r")[-1] == ""
    bar.close()


def test_a_run_shows_a_bar_for_each_epoch_and_evaluation(toy_path, tmp_path, streams):
    settings = {**QUICK, "data_path": str(toy_path), "use_gpu": False}
    stream = streams(out=False, err=False)
    for setting, expected in (
        (True, {"epoch 1", "epoch 2", "evaluation"}),
        (False, set()),
        (None, set()),
    ):
        stream.seek(0)
        stream.truncate()
        quick_start.run(
            "SASRec",
            "toy",
            overrides={**settings, "show_progress": setting},
            run_dir=tmp_path / str(setting),
        )
        said = stream.getvalue()
        assert set(re.findall(r"(epoch \d+|evaluation): +0%", said)) == expected


def test_a_value_of_another_kind_is_refused(toy_path, tmp_path):
    settings = {**QUICK, "data_path": str(toy_path), "show_progress": "always"}
    with pytest.raises(
        ConfigError, match="show_progress must be true or false or null, got 'always'"
    ):
        quick_start.run("SASRec", "toy", overrides=settings, run_dir=tmp_path / "run")
