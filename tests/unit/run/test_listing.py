"""The list of runs says what each is, how far it came and how good it is."""

import json

import pytest
import yaml

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.cli import main
from recbole_hm4sr.page.format import NONE
from recbole_hm4sr.run.listing import list_runs


def write_run(folder, *, model="SASRec", metrics=None, epochs=()):
    folder.mkdir(parents=True)
    settings = {"model": model, "dataset": "toy", "generated": True}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    lines = [
        json.dumps(
            {
                "epoch": number,
                "is_best": is_best,
                "train_seconds": 2.0,
                "valid_seconds": 0.5,
            }
        )
        for number, is_best in enumerate(epochs, start=1)
    ]
    (folder / "history.jsonl").write_text("".join(line + "\n" for line in lines))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))


def finished(kept, removed, seconds):
    return {
        "generated": True,
        "best_epoch": 3,
        "test_include": {"ndcg@10": kept},
        "test_exclude": {} if removed is None else {"ndcg@10": removed},
        "seconds": seconds,
    }


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "b", model="HM4SR", metrics=finished(0.25, 0.5, 90.0))
    write_run(tmp_path / "compare" / "toy" / "seed-1", metrics=finished(0.5, None, 30.0))
    write_run(tmp_path / "a", epochs=(True, True, False))
    write_run(tmp_path / "new")
    write_run(tmp_path / "torn", metrics={"generated": True})
    (tmp_path / "no run").mkdir()
    return tmp_path


def test_every_run_is_a_line(folder):
    found = {run.folder: run for run in list_runs(folder)}
    assert list(found) == ["a", "b", "compare/toy/seed-1", "new", "torn"]
    states = [run.state for run in found.values()]
    assert states == ["trained 3 epochs", "finished", "finished", "begun", "damaged"]
    stopped, run = found["a"], found["b"]
    assert (stopped.best_epoch, stopped.seconds, stopped.kept) == (2, 7.5, None)
    assert (run.model, run.best_epoch, run.kept, run.removed) == ("HM4SR", 3, 0.25, 0.5)
    assert found["compare/toy/seed-1"].removed is None


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("kept", ["compare/toy/seed-1", "b"]),
        ("removed", ["b", "a"]),
        ("seconds", ["a", "compare/toy/seed-1", "b"]),
        ("model", ["torn", "b"]),
    ],
)
def test_a_list_is_sorted_and_what_has_no_value_comes_last(folder, sort, first):
    assert [run.folder for run in list_runs(folder, sort=sort)][: len(first)] == first


def test_a_run_itself_and_a_folder_that_is_not_there(folder):
    assert [run.folder for run in list_runs(folder / "b")] == ["b"]
    with pytest.raises(DataError, match=r"there must be a folder of runs, but .* does not exist"):
        list_runs(folder / "c")


def run(*words, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["runs", *words])
    assert ended.value.code == code


def test_the_command_prints_a_line_a_run_or_json(folder, capsys):
    run(str(folder), "--sort=kept")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[1].split() == [
        *("compare/toy/seed-1", "SASRec", "toy", "(generated)"),
        *("3", "0.5000", NONE, "30", "s", "finished"),
    ]
    run(str(folder), "--json")
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["folder"] == "a"
    assert first["state"] == "trained 3 epochs"
    run(str(folder), "--sort=size", code=2)
    assert "--sort must be one of folder, model" in capsys.readouterr().err
