"""What a comparison says while it runs and at its end, without running anything."""

import dataclasses
import re

import pytest
from test_compare_page import outcomes_of

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare import command

FLAGS = {
    "datasets": ["toy"], "models": ["A", "B", "C"], "seeds": [1, 2], "metrics": ["MRR@10"],
    "baseline": "B", "baselines": [],
}  # fmt: skip


def compared(folder, monkeypatch, change=lambda outcome: outcome):
    """The lines of a comparison whose runs end at once, each said to have taken 90 s."""

    def run_grid(grid, out, *, on_start, on_cell, **_):
        final = [change(outcome) for outcome in outcomes_of(grid, out)]
        on_start([dataclasses.replace(outcome, record=None) for outcome in final])
        for number, outcome in enumerate(final, start=1):
            if outcome.record is not None:
                before = dataclasses.replace(outcome, record=None)
                on_cell("started", before, number, len(final))
                on_cell(outcome.record["status"], outcome, number, len(final))
        return final

    monkeypatch.setattr(command, "run_grid", run_grid)
    monkeypatch.setattr(command, "check_grid", lambda _: None)  # its models are none
    said = []
    command.compare_grid(flags=FLAGS, out=folder, say=said.append)
    return said


def test_the_first_line_says_how_many_runs_of_what(tmp_path, monkeypatch):
    first, *_ = compared(tmp_path, monkeypatch)
    assert first == f"6 runs (3 models); folder: {tmp_path}"


def test_a_misspelt_model_is_named_before_anything_else_is_said(tmp_path):
    said = []
    flags = {"datasets": ["sports"], "models": ["HM4SR", "Momentto"], "seeds": [1]}
    with pytest.raises(ConfigError, match="did you mean 'Momento'"):
        command.compare_grid(flags=flags, out=tmp_path / "new", say=said.append)
    assert said == []
    assert not (tmp_path / "new").exists()


def test_rows_without_training_are_counted_apart(tmp_path):
    said = []
    flags = {"datasets": ["sports"], "models": ["HM4SR"], "seeds": [1], "baselines": ["Popular"]}
    with pytest.raises(ConfigError, match="--jobs must be 1 or more"):
        command.compare_grid(flags=flags, out=tmp_path, jobs=0, say=said.append)
    assert said == [f"2 runs (1 model, 1 without training); folder: {tmp_path}"]


def test_each_finished_run_says_how_long_the_rest_takes(tmp_path, monkeypatch):
    said = compared(tmp_path, monkeypatch)
    ends = [line for line in said if re.search(": (done|failed)", line)]
    assert [line.rpartition("; ")[2] for line in ends[:5]] == [
        "about 7.5 min left", "about 6 min left", "about 4.5 min left", "about 3 min left",
        "about 90 s left",
    ]  # fmt: skip
    assert ends[5] == "[6/6] toy, C, seed 2: failed: it has no <colour> column"
    assert not [line for line in said if "started" in line and "left" in line]


def test_one_short_table_and_where_the_rest_is(tmp_path, monkeypatch):
    *_, table, page, files = compared(tmp_path, monkeypatch)
    assert table.splitlines()[1].startswith("toy (GENERATED data): MRR@10 of the test targets")
    assert page == f"intervals, groups, costs and the runs' reports: {tmp_path}/compare.html"
    assert files == f"all tables as text, Markdown, CSV and LaTeX: {tmp_path}/table.*"
    assert (tmp_path / "compare.html").is_file()
    assert "results; seen items removed" in (tmp_path / "table.txt").read_text()


def test_a_comparison_that_goes_on_writes_its_page_anew(tmp_path, monkeypatch):
    page = tmp_path / "compare.html"
    page.write_text("of an earlier start")

    def not_yet(outcome):
        waits = outcome.cell.key == ("toy", "A", 2)
        return dataclasses.replace(outcome, record=None) if waits else outcome

    said = compared(tmp_path, monkeypatch, not_yet)
    assert "6 runs, 3 of them finished" in page.read_text()
    assert "A: seed 2: not run yet." in said[-3]
