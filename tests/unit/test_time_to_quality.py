"""When a run is near its best: arithmetic on histories that are written here."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("time_to_quality")


def write_run(folder, values, *, model="M", finished=True, kept=True, **settings):
    """A run whose epochs take 10 and 2 seconds; a kept clock says 100 s and 90 CPU s an epoch."""
    folder.mkdir(parents=True)
    settings = {"model": model, "rank_history": "exclude", **settings}
    (folder / "config.yaml").write_text(json.dumps(settings))
    lines = []
    for epoch, value in enumerate(values, start=1):
        record = {"epoch": epoch, "valid": {"ndcg@10": value}}
        record |= {"train_seconds": 10.0, "valid_seconds": 2.0}
        if kept:
            record |= {"run_seconds": 100.0 * epoch, "cpu_seconds": 90.0 * epoch}
        lines.append(json.dumps(record) + "\n")
    (folder / "history.jsonl").write_text("".join(lines))
    if finished:
        (folder / "metrics.json").write_text("{}")
    return folder


def test_near_is_the_first_epoch_at_99_percent_of_the_best(script, tmp_path):
    curve = script.read_curve(write_run(tmp_path / "a", [0.5, 0.9899, 0.9901, 1.0, 1.0, 0.7]))
    assert (curve.best.epoch, curve.best.value) == (4, 1.0)  # the first of two
    row = script.row_of(curve, curve, 0.99)
    assert row["own"] == {"epoch": 3, "value": 0.9901, "wall": 300.0, "cpu": 270.0}
    assert (row["epochs"], row["of_first"], row["note"]) == (6, 1.0, "")


def test_other_settings_are_measured_by_the_first_run_of_the_model(script, tmp_path):
    folders = [
        write_run(tmp_path / "today", [0.5, 0.8, 1.0]),
        write_run(tmp_path / "faster", [0.98, 0.995, 0.996]),
        write_run(tmp_path / "worse", [0.7, 0.71]),
        write_run(tmp_path / "other", [0.1, 0.2], model="N"),
    ]
    rows = script.rows_of([script.read_curve(folder) for folder in folders], 0.99)
    assert rows["today"]["as_first"]["epoch"] == 3
    assert rows["faster"]["as_first"]["epoch"] == 2
    assert rows["faster"]["of_first"] == 0.996
    assert rows["worse"]["as_first"] is None
    assert rows["worse"]["own"]["epoch"] == 2
    assert rows["other"]["as_first"]["epoch"] == 2


def test_an_older_history_has_the_seconds_of_its_epochs_and_no_processor_time(script, tmp_path):
    curve = script.read_curve(write_run(tmp_path / "a", [0.1, 0.2, 0.3], kept=False))
    assert [(point.wall, point.cpu) for point in curve.points] == [
        (12, None),
        (24, None),
        (36, None),
    ]


def test_a_reader_is_told_of_half_a_run_and_of_the_other_protocol(script, tmp_path):
    folder = write_run(tmp_path / "a", [0.1], finished=False, rank_history="include")
    assert script.read_curve(folder).note == "seen items kept, not finished"
    (folder / "metrics.json").write_text('{"ended_by": "budget"}')
    assert script.read_curve(folder).note == "seen items kept, ended by its budget"


def test_runs_that_tell_nothing_are_refused(script, tmp_path):
    with pytest.raises(ValueError, match=r"must have a validated epoch with ndcg@10, got none"):
        script.read_curve(write_run(tmp_path / "a", []))
    gaps = write_run(tmp_path / "b", [0.1], kept=False, eval_step=3)
    with pytest.raises(ValueError, match="must keep the seconds of epochs between"):
        script.read_curve(gaps)


def test_a_variant_is_a_name_a_model_and_settings(script):
    found = script.parse_variant("fast:HM4SR:learning_rate=0.002,lr_schedule=cosine,lr_epochs=8")
    settings = {"learning_rate": 0.002, "lr_schedule": "cosine", "lr_epochs": 8}
    assert found == ("fast", "HM4SR", settings)
    assert script.parse_variant("plain:HM4SR:") == ("plain", "HM4SR", {})
    for wrong in ("HM4SR", "a:HM4SR:learning_rate", ":HM4SR:"):
        with pytest.raises(ValueError, match="--variant must be name:model:setting=value"):
            script.parse_variant(wrong)
