"""The command line end to end: what a run leaves, and that it can be tested and continued."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import load_features, save_features
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR, write_toy_dataset

pytestmark = pytest.mark.integration


def flags(settings):
    return [
        f"--{name}={yaml.safe_dump(v, default_flow_style=True).split(chr(10))[0]}"
        for name, v in settings.items()
    ]


def train(toy_path, run_dir, model="HM4SR", **overrides):
    settings = QUICK_HM4SR if model == "HM4SR" else QUICK
    settings = {**settings, "data_path": str(toy_path), **overrides}
    words = [f"--model={model}", "--dataset=toy", f"--run_dir={run_dir}", *flags(settings)]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", *words])
    return json.loads((run_dir / "metrics.json").read_text())


def history(run_dir):
    return [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]


def test_a_run_leaves_its_folder_and_prints_its_course(toy_path, tmp_path, capsys):
    run_dir = tmp_path / "run"
    metrics = train(toy_path, run_dir)
    left = {path.name for path in run_dir.iterdir()}
    assert left >= {"config.yaml", "metrics.json", "history.jsonl", "report.html", "checkpoint"}
    checkpoints = {path.name for path in (run_dir / "checkpoint").iterdir()}
    assert checkpoints == {"best.pt", "last.pt", "previous.pt"}
    records = history(run_dir)
    assert [record["epoch"] for record in records] == [1, 2]
    assert set(records[0]["losses"]) == {
        "cross_entropy",
        "id_contrastive",
        "category_prediction",
        "placeholder_contrastive",
    }
    assert records[1]["loss"] < records[0]["loss"]
    assert metrics["generated"] is True
    assert metrics["best_valid_score"] == max(record["valid_score"] for record in records)
    printed = capsys.readouterr().out
    assert printed.count("epoch ") >= 2
    assert "GENERATED" in printed
    assert "NDCG" in printed


def test_testing_the_run_later_gives_the_same_digits(toy_path, tmp_path):
    run_dir = tmp_path / "run"
    metrics = train(toy_path, run_dir)
    again = subprocess.run(
        [
            sys.executable,
            "-c",
            "import dataclasses, json, sys; from recbole_hm4sr.run import quick_start; "
            "print(json.dumps(dataclasses.asdict(quick_start.evaluate(sys.argv[1]))))",
            str(run_dir),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    parts = json.loads(again.stdout.splitlines()[-1])
    assert parts.pop("views") == {}  # the model is measured as it is
    assert parts.pop("lists") == {}  # list_metrics was not asked for
    assert parts == {name: metrics[name] for name in parts}


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec", "GRU4Rec"])
def test_models_of_recbole_run_through_the_same_command(toy_path, tmp_path, model):
    metrics = train(toy_path, tmp_path / model, model)
    assert metrics["model"] == model
    assert set(metrics["test"]) == {f"{m}@{k}" for m in ("ndcg", "mrr", "hit") for k in (5, 10)}


def test_a_resumed_run_ends_as_one_that_never_stopped(toy_path, tmp_path):
    whole = train(toy_path, tmp_path / "whole", epochs=4)
    stopped = tmp_path / "stopped"

    def stop_after_two(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    settings = {**QUICK_HM4SR, "data_path": str(toy_path), "epochs": 4}
    with pytest.raises(KeyboardInterrupt):
        quick_start.run(
            "HM4SR", "toy", overrides=settings, run_dir=stopped, on_epoch=stop_after_two
        )
    result = quick_start.resume(stopped)
    assert result.test == whole["test"]
    assert result.best_epoch == whole["best_epoch"]
    losses = [record["losses"] for record in history(stopped)]
    assert losses == [record["losses"] for record in history(tmp_path / "whole")]


def test_the_same_seed_gives_the_same_run_in_one_process(toy_path, tmp_path):
    first = train(toy_path, tmp_path / "first")
    train(toy_path, tmp_path / "between", "BERT4Rec")
    second = train(toy_path, tmp_path / "second")
    assert first["test"] == second["test"]
    assert train(toy_path, tmp_path / "third", seed=1)["test"] != first["test"]


def test_resuming_a_finished_run_changes_nothing(toy_path, tmp_path):
    run_dir = tmp_path / "run"
    metrics = train(toy_path, run_dir)
    assert quick_start.resume(run_dir).test == metrics["test"]
    assert len(history(run_dir)) == 2


def test_a_run_folder_is_never_overwritten(toy_path, tmp_path):
    train(toy_path, tmp_path / "run")
    with pytest.raises(ConfigError, match="must not hold a run already"):
        quick_start.run("HM4SR", "toy", run_dir=tmp_path / "run")


def test_changed_features_are_noticed_before_testing(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    run_dir = tmp_path / "run"
    train(tmp_path, run_dir)
    path = tmp_path / "toy" / "toy.text.npz"
    features = load_features(path)
    save_features(path, dataclasses.replace(features, values=features.values + 1))
    with pytest.raises(DataError, match="must meet the text features it was trained on"):
        quick_start.evaluate(run_dir)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hiden_size=3"], "did you mean 'hidden_size'"),
        (["--model=SASrec"], "did you mean 'SASRec'"),
        (["--dataset=sport"], "did you mean 'sports'"),
        (["--epochs=0"], "epochs must be 1 or more"),
        (["--epochs"], "--epochs must have a value"),
        (["epochs=3"], "must have the form --name=value"),
        (["--resume=nowhere"], "must be the folder of a run"),
        (["--resume=nowhere", "--epochs=3"], "--resume must stand alone"),
        (["--config_files=missing.yaml"], "cannot read the settings file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", *arguments])
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_help_comes_without_torch():
    code = "import sys; from recbole_hm4sr import cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_ctrl_c_keeps_the_finished_epochs_and_says_how_to_go_on(toy_path, tmp_path):
    run_dir = tmp_path / "run"
    code = (
        "import os, signal, sys\n"
        "from recbole_hm4sr import cli\nfrom recbole_hm4sr.run.lines import RunLines\n"
        "original = RunLines.epoch\n"
        "def epoch(self, record):\n"
        "    original(self, record)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "RunLines.epoch = epoch\n"
        "cli.main(sys.argv[1:])\n"
    )
    settings = {**QUICK_HM4SR, "data_path": str(toy_path), "epochs": 50}
    words = ["train", "--dataset=toy", f"--run_dir={run_dir}", *flags(settings)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 130
    assert f"--resume {run_dir}" in done.stdout
    assert "Traceback" not in done.stderr
    assert len(history(run_dir)) == 1
    assert 0 <= quick_start.evaluate(run_dir).test["hit@10"] <= 1


def test_nothing_is_written_beside_the_run_folder(toy_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(toy_path, tmp_path / "run")
    assert {path.name for path in Path.cwd().iterdir()} == {"run"}


@pytest.mark.parametrize("mode", ["valid_only", "test_only"])
def test_a_split_without_validation_or_test_is_refused(toy_path, tmp_path, mode):
    settings = {
        **QUICK,
        "data_path": str(toy_path),
        "eval_args": {"split": {"LS": mode}, "order": "TO", "mode": "full", "group_by": "user"},
    }
    with pytest.raises(ConfigError, match="must leave a training, a validation and a test part"):
        quick_start.run("SASRec", "toy", overrides=settings, run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    "settings",
    [
        {"metrics": ["NDCG", "ItemCoverage"]},
        {
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "mode": "uni10",
                "group_by": "user",
            }
        },
    ],
    ids=["metrics beyond ranks", "sampled negatives"],
)
def test_what_ranks_cannot_say_is_evaluated_by_recbole(toy_path, tmp_path, settings):
    settings = {**QUICK, "data_path": str(toy_path), **settings}
    result = quick_start.run("SASRec", "toy", overrides=settings, run_dir=tmp_path / "run")
    assert result.test_include == result.test
    assert result.test_exclude == {}
    assert not (tmp_path / "run" / "test_ranks.npz").exists()


def test_a_run_with_a_cache_of_codes_is_tested_and_continued(toy_path, tmp_path):
    """Where the codes are kept is the machine's: a run's folder names no place to write."""
    run_dir, cache = tmp_path / "run", tmp_path / "cache"
    settings = {**QUICK, "data_path": str(toy_path), "hidden_size": 16, "n_codes": 4, "n_links": 2}
    overrides = {**settings, "code_cache_dir": str(cache)}
    result = quick_start.run("MMSR", "toy", overrides=overrides, run_dir=run_dir)
    assert any(cache.iterdir())
    assert quick_start.evaluate(run_dir).test == result.test
    assert quick_start.resume(run_dir).test == result.test
