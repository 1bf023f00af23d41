"""What a run in Python prints: its course and its result, unless it is to be silent."""

import json

import pytest

from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK


@pytest.fixture
def settings(toy_path):
    return {**QUICK, "data_path": str(toy_path), "use_gpu": False}


def test_a_run_prints_its_start_its_epochs_and_its_result(settings, tmp_path, capsys):
    calls = []
    quick_start.run(
        "SASRec", "toy", overrides=settings, run_dir=tmp_path / "run",
        on_start=lambda _: calls.append("start"),
        on_epoch=lambda record: calls.append(record.epoch),
    )  # fmt: skip
    assert calls == ["start", 1, 2]  # those of the caller are made too
    lines = capsys.readouterr().out.splitlines()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert lines[0].startswith("SASRec on toy: ")
    assert [line[:13] for line in lines if line.startswith("epoch ")] == [
        "epoch   1/2  ", "epoch   2/2  ",
    ]  # fmt: skip
    best = f"best epoch {metrics['best_epoch']} of 2, chosen on validation"
    assert lines[-3] == f"SASRec on toy, GENERATED data: {best}"
    for line, part, words in zip(
        lines[-2:], ("test_include", "test_exclude"), ("kept", "removed"), strict=True
    ):
        assert line.startswith(f"test, seen items {words}: ")
        assert f"NDCG@10 {metrics[part]['ndcg@10']:.4f}" in line


def test_a_run_is_silent_by_its_argument_or_by_the_setting(settings, tmp_path, capsys):
    run_dir, silent = tmp_path / "a", {**settings, "show_progress": False, "epochs": 1}
    quick_start.run("Popular", "toy", overrides=silent, run_dir=tmp_path / "b")
    quick_start.run("Popular", "toy", overrides=settings, run_dir=run_dir, show_progress=False)
    quick_start.resume(run_dir, show_progress=False)
    assert capsys.readouterr().out == ""
    quick_start.resume(run_dir)
    assert "test, seen items kept: " in capsys.readouterr().out
