"""``hm4sr compare``: killed in the middle and started again, what is skipped, what it leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, error_sentence
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.results import read_outcomes
from recbole_hm4sr.compare.runner import run_grid
from recbole_hm4sr.compare.worker import run_cell
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.run.resume import run_or_resume
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration

N_EPOCHS = 30
KILL_AFTER = 3


def grid_values(toy_path):
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "colour"]}
    return {
        "datasets": ["toy"],
        "seeds": [1, 2],
        "settings": {**QUICK, "data_path": str(toy_path)},
        "baseline": "SASRec",
        "baselines": [],
        "models": [
            "SASRec",
            {"label": "GRU long", "model": "GRU4Rec",
             "settings": {"epochs": N_EPOCHS, "stopping_step": N_EPOCHS}},
            {"label": "no column", "model": "FDSA",
             "settings": {"load_col": columns, "selected_features": ["colour"]}},
        ],
    }  # fmt: skip


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until, "waited for two minutes"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def comparison(toy_path, tmp_path_factory):
    """A comparison that was killed while its second run trained, and started again."""
    folder = tmp_path_factory.mktemp("compare")
    grid, out = folder / "grid.yaml", folder / "out"
    grid.write_text(yaml.safe_dump(grid_values(toy_path)), encoding="utf-8")
    words = [sys.executable, "-c", "from recbole_hm4sr import cli; cli.main()", "compare"]
    runner = subprocess.Popen(
        [*words, f"--grid={grid}", f"--out={out}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    history = out / "toy" / "GRU-long" / "seed-1" / "history.jsonl"
    wait_for(lambda: len(lines(history)) >= KILL_AFTER)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    # The run it had started ends with it: wait until nothing is written any more.
    time.sleep(1)
    killed = {"results": lines(out / "results.jsonl"), "history": lines(history)}
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"dataset": "toy", "lab')
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        summaries = compare_grid(str(grid), out=out, say=said.append)
    return {"grid": grid, "out": out, "killed": killed, "said": said, "summaries": summaries}


def test_a_killed_comparison_goes_on_and_repeats_nothing(comparison):
    out, killed = comparison["out"], comparison["killed"]
    assert [record["label"] for record in killed["results"]] == ["SASRec"]
    assert KILL_AFTER <= len(killed["history"]) < N_EPOCHS
    folder = out / "toy" / "GRU-long" / "seed-1"
    history = lines(folder / "history.jsonl")
    # The same epochs, seconds too: the run went on from its checkpoint.
    assert history[: len(killed["history"])] == killed["history"]
    assert [record["epoch"] for record in history] == list(range(1, N_EPOCHS + 1))
    assert any("SASRec, seed 1: finished before" in line for line in comparison["said"])
    # The rest is estimated once a trained run has finished; after the last run there is none.
    timed = [line for line in comparison["said"] if line.endswith(" left")]
    assert len(timed) == 4
    assert all(re.search(r": (done|failed).*; about [\d.,]+ \w+ left$", line) for line in timed)
    grid = read_grid(comparison["grid"])
    outcomes = read_outcomes(grid, out)
    assert [outcome.done for outcome in outcomes] == [True, True, False] * 2


def test_a_finished_comparison_runs_nothing_more(comparison):
    before = (comparison["out"] / "results.jsonl").read_bytes()
    events = []
    grid = read_grid(comparison["grid"])
    run_grid(grid, comparison["out"], on_cell=lambda event, *_: events.append(event))
    assert events == ["skipped"] * 6
    assert (comparison["out"] / "results.jsonl").read_bytes() == before


def test_a_failed_cell_is_a_line_with_its_reason_and_is_tried_again_when_asked(comparison):
    grid = read_grid(comparison["grid"], {"seeds": [1]})
    events = []
    outcomes = run_grid(
        grid, comparison["out"], retry=True, on_cell=lambda event, *_: events.append(event)
    )
    assert events == ["skipped", "skipped", "started", "failed"]
    reason = outcomes[2].record["reason"]
    assert "colour" in reason
    assert "\n" not in reason
    text = (comparison["out"] / "table.md").read_text(encoding="utf-8")
    assert f"| no column | 0/2 | {reason} |" in text.replace("\\|", "|")


def test_other_settings_are_other_runs_in_folders_of_their_own(comparison):
    changed = read_grid(comparison["grid"], {"settings": {"learning_rate": 0.01}})
    old = read_outcomes(read_grid(comparison["grid"]), comparison["out"])
    new = read_outcomes(changed, comparison["out"])
    assert [outcome.record for outcome in new] == [None] * 6
    assert not {outcome.folder for outcome in old} & {outcome.folder for outcome in new}


def test_the_table_says_what_recboles_evaluator_said(comparison):
    for record in lines_of_done_runs(comparison["out"]):
        with np.load(comparison["out"] / record["run_dir"] / "test_ranks.npz") as file:
            ranks = dict(file)
        for history in ("include", "exclude"):
            for metric, value in record[f"test_{history}"].items():
                mean = user_metric(ranks[f"rank_{history}"], metric).mean()
                assert mean == pytest.approx(value, abs=1e-6)  # metric_decimal_place: 6


def lines_of_done_runs(out):
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    done = [record for record in records if record["status"] == "done"]
    assert len(done) == 4
    return done


def test_the_tables_are_there_in_every_form(comparison):
    written = {path.name for path in comparison["out"].glob("table*.*")}
    assert written == {
        "table.txt", "table.md", "table.csv",
        "table.tex", "table_details.tex", "table_tests.tex", "table_groups.tex",
    }  # fmt: skip
    said = "\n".join(comparison["said"])
    # One short table, and where the rest is.
    assert said.count("s/epoch") == 1
    assert re.search(r"^model +seeds +seen items kept +seen items removed +s/epoch$", said, re.M)
    page = comparison["out"] / "compare.html"
    assert f"intervals, groups, costs and the runs' reports: {page}" in said
    assert 'href="toy/GRU-long/seed-2/report.html"' in page.read_text(encoding="utf-8")
    row = comparison["summaries"][0].rows[0]
    assert (len(row.seeds), row.reason) == (2, "")
    assert row.peak_memory_mb > 0
    assert len(comparison["summaries"][0].rows[1].tests) == 3


def test_a_line_holds_what_repeats_the_run(comparison, toy_path):
    record = lines_of_done_runs(comparison["out"])[0]
    assert record["command"].startswith("hm4sr train --model=SASRec --dataset=toy")
    assert "--seed=1" in record["command"]
    assert {"git_revision", "versions", "device", "machine", "fingerprint"} <= set(record)


def test_one_comparison_at_a_time_writes_to_a_folder(comparison):
    with (
        locked(comparison["out"] / ".lock"),
        pytest.raises(ConfigError, match="one comparison at a time"),
    ):
        run_grid(read_grid(comparison["grid"]), comparison["out"])


def test_an_unknown_model_is_refused_before_anything_runs(toy_path, tmp_path, capsys):
    words = ["--dataset=toy", "--models=SASrec", f"--data_path={toy_path}", f"--out={tmp_path}/o"]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compare", *words])
    assert "did you mean 'SASRec'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_s3rec_is_pretrained_and_then_fine_tuned(toy_path, tmp_path):
    settings = {**QUICK, "data_path": str(toy_path), "pretrain_epochs": 1, "seed": 1}
    cell = {"model": "S3Rec", "dataset": "toy", "overrides": settings}
    (tmp_path / "cell.json").write_text(json.dumps(cell), encoding="utf-8")
    run_cell(tmp_path)
    assert len(lines(tmp_path / "pretrain" / "history.jsonl")) == 1
    # The test part is read at the end alone.
    assert not (tmp_path / "pretrain" / "test_ranks.npz").exists()
    assert len(lines(tmp_path / "history.jsonl")) == QUICK["epochs"]
    config = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert config["train_stage"] == "finetune"
    assert config["pre_model_path"] == str(tmp_path / "pretrain" / "checkpoint" / "last.pt")


def test_a_run_goes_on_where_its_data_has_moved(toy_path, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(toy_path / "toy", first / "toy")
    folder = tmp_path / "run"
    settings = {**QUICK, "epochs": 3, "stopping_step": 3, "seed": 1}

    def stop_after_the_first_epoch(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_or_resume(
            folder,
            "SASRec",
            "toy",
            {**settings, "data_path": str(first)},
            on_epoch=stop_after_the_first_epoch,
        )
    before = lines(folder / "history.jsonl")
    first.rename(second)
    run_or_resume(folder, "SASRec", "toy", {**settings, "data_path": str(second)})
    history = lines(folder / "history.jsonl")
    assert len(before) == 1
    assert (history[:1], len(history)) == (before, 3)
    # Who opens the run next finds the data too.
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["data_path"] == str(second)


def test_tables_without_a_run_are_of_what_is_finished(comparison, capsys):
    words = [f"--grid={comparison['grid']}", f"--out={comparison['out']}", "--tables"]
    before = (comparison["out"] / "results.jsonl").read_bytes()
    with pytest.raises(SystemExit, match="1"):  # the row that cannot run
        cli.main(["compare", *words, "--seeds=1,2,3"])
    assert (comparison["out"] / "results.jsonl").read_bytes() == before
    printed = capsys.readouterr().out
    assert "SASRec: seed 3: not run yet." in printed
    assert re.search(r"^SASRec +2/3 ", printed, re.MULTILINE)


def test_tables_of_nothing_replace_none(comparison, capsys):
    words = [f"--grid={comparison['grid']}", f"--out={comparison['out']}", "--tables"]
    before = (comparison["out"] / "table.md").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compare", *words, "--topk=[5,10,20]"])
    printed = capsys.readouterr()
    assert "4 of these runs are finished there with other settings" in printed.out
    assert "must hold a result of this grid for --tables" in printed.err
    assert (comparison["out"] / "table.md").read_bytes() == before


def test_modules_come_from_where_the_comparisons_own_do(toy_path, tmp_path):
    """A folder named recbole in the working directory is not the worker's RecBole."""
    (tmp_path / "recbole").mkdir()
    (tmp_path / "recbole" / "__init__.py").write_text("raise ImportError('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; "
         "from recbole_hm4sr import cli; cli.main()", "compare", "--dataset=toy",
         "--models=SASRec", "--epochs=1", f"--data_path={toy_path}", "--out=out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SASRec +1/1", done.stdout)


def test_ctrl_c_ends_the_runs_and_says_how_to_go_on(toy_path, tmp_path):
    words = ["--dataset=toy", "--models=SASRec", f"--data_path={toy_path}", f"--out={tmp_path}/o"]
    runner = subprocess.Popen(
        [sys.executable, "-c", "from recbole_hm4sr import cli; cli.main()", "compare", *words,
         "--epochs=2000", "--stopping_step=2000"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    history = tmp_path / "o" / "toy" / "SASRec" / "seed-2020" / "history.jsonl"
    wait_for(lambda: len(lines(history)) >= 1)
    runner.send_signal(signal.SIGINT)
    printed, errors = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert "Go on with the same command" in printed
    assert "Traceback" not in errors
    written = history.read_bytes()
    time.sleep(0.5)
    assert history.read_bytes() == written


def test_recboles_bare_errors_become_sentences():
    assert error_sentence(KeyError("class")) == (
        "the model reads 'class', which this data set or its settings do not have"
    )
    assert error_sentence(KeyError("neg_item_id")).endswith(
        "negative items come by train_neg_sample_args: {sample_num: 1}"
    )
    assert error_sentence(ValueError("\x1b[1mno\x1b[0m\ngood.")) == "ValueError: no good"
    assert error_sentence(MemoryError()) == "there was not enough memory"
