"""One seed, one run: after another model, in another process, and beside others in a comparison."""

import os
import subprocess
import sys

import pytest
from killing import METRICS, contents, history_of, weights, words_of

from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.runner import run_grid
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR

pytestmark = pytest.mark.integration
SEED = 3
SETTINGS = {"HM4SR": QUICK_HM4SR, "SASRec": QUICK}


def run_here(model, toy_path, run_dir, **overrides):
    settings = {**SETTINGS.get(model, QUICK), "data_path": str(toy_path), "use_gpu": False}
    settings |= {"seed": SEED, **overrides}
    quick_start.run(model, "toy", overrides=settings, run_dir=run_dir)
    return found(run_dir)


def found(run_dir):
    """What must be the same: weights of the best epoch, losses, metrics, and ranks."""
    values = contents(run_dir)
    return {
        "weights": weights(run_dir),
        "history": values["history"],
        "metrics": values["metrics"],
        "ranks": values["ranks"],
    }


@pytest.fixture(scope="module")
def first(toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seed")
    return {model: run_here(model, toy_path, folder / model) for model in SETTINGS}


@pytest.mark.parametrize("model", SETTINGS)
def test_in_one_process_after_another_model(toy_path, tmp_path, first, model):
    run_here("BERT4Rec", toy_path, tmp_path / "between", seed=8)
    assert run_here(model, toy_path, tmp_path / "again") == first[model]


def test_another_seed_is_another_run(toy_path, tmp_path, first):
    other = run_here("SASRec", toy_path, tmp_path / "other", seed=SEED + 1)
    for part in ("weights", "history", "metrics"):
        assert other[part] != first["SASRec"][part]


def test_after_a_run_that_ended_in_an_error(toy_path, tmp_path, first):
    def stop(record):
        raise KeyboardInterrupt

    settings = {**QUICK, "data_path": str(toy_path), "use_gpu": False}
    with pytest.raises(KeyboardInterrupt):
        quick_start.run(
            "GRU4Rec", "toy", overrides=settings, run_dir=tmp_path / "broken", on_epoch=stop
        )
    assert run_here("SASRec", toy_path, tmp_path / "after") == first["SASRec"]


def test_in_another_process(toy_path, tmp_path, first):
    words = words_of("HM4SR", toy_path, tmp_path / "run", seed=SEED)
    code = "import sys; from recbole_hm4sr import cli; cli.main(sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-c", code, *words],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "17"},
    )
    assert found(tmp_path / "run") == first["HM4SR"]


def test_under_compare_beside_others(toy_path, tmp_path, first, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    flags = {
        "datasets": ["toy"],
        "models": [
            {"label": model, "model": model, "settings": settings}
            for model, settings in SETTINGS.items()
        ],
        "seeds": [SEED],
        "settings": {"data_path": str(toy_path), "use_gpu": False},
    }
    outcomes = run_grid(read_grid(None, flags), tmp_path, jobs=2)
    assert [outcome.record["status"] for outcome in outcomes] == ["done", "done"]
    for outcome in outcomes:
        assert found(outcome.folder) == first[outcome.cell.model]
        shown = {name: outcome.record[name] for name in METRICS if name in outcome.record}
        assert shown == {
            name: value
            for name, value in first[outcome.cell.model]["metrics"].items()
            if name in shown
        }
    assert all(len(history_of(outcome.folder)) == QUICK["epochs"] for outcome in outcomes)
