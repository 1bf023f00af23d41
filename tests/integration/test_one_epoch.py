"""All that a run leaves is of its best epoch, however it was run."""

import json
import shutil

import pytest
import yaml
from killing import history_of
from servedruns import expected_of
from tuning import lines

from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.resume import run_or_resume
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import QUICK_HM4SR
from recbole_hm4sr.tune.command import Plan, tune_model

pytestmark = pytest.mark.integration

N_EPOCHS, K = 4, 5
# At this rate the first epochs are the best and the last one scores otherwise.
SETTINGS = {**QUICK_HM4SR, "epochs": N_EPOCHS, "learning_rate": 0.3, "use_gpu": False}


def settings_of(toy_path, **changes):
    return {**SETTINGS, "data_path": str(toy_path), **changes}


def assert_is_of_the_best_epoch(run_dir):
    """The lists by the run's files alone are those of RecBole's scores by ``best.pt``."""
    history = history_of(run_dir)
    best = max(history, key=lambda record: (record["valid_score"], record["epoch"]))
    assert best["epoch"] < len(history), "the last epoch is the best: nothing could be mistaken"
    expected = expected_of(run_dir)
    assert (run_dir / "serving.npz").is_file()
    found = Recommender.load(run_dir).recommend(expected.histories, K, exclude_seen=False)
    assert [list(row) for row in found.items] == expected.top(K)
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["valid"] == best["valid"]
    if metrics["test"]:
        assert metrics["test"] == quick_start.evaluate(run_dir).test


@pytest.fixture(scope="module")
def untested(toy_path, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("untested") / "run"
    quick_start.run("HM4SR", "toy", overrides=settings_of(toy_path), run_dir=run_dir, test=False)
    return run_dir


def test_a_run_that_is_not_tested(untested):
    assert_is_of_the_best_epoch(untested)
    assert not (untested / "test_ranks.npz").exists()
    assert not (untested / "report.html").exists()


@pytest.mark.parametrize("test", [False, True])
def test_a_finished_run_that_is_resumed(untested, tmp_path, test):
    run_dir = shutil.copytree(untested, tmp_path / "run")
    (run_dir / "serving.npz").unlink()
    quick_start.resume(run_dir, test=test)
    assert_is_of_the_best_epoch(run_dir)


def test_a_stopped_run_that_is_resumed(toy_path, tmp_path):
    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    run_dir, settings = tmp_path / "run", settings_of(toy_path)
    with pytest.raises(KeyboardInterrupt):
        quick_start.run("HM4SR", "toy", overrides=settings, run_dir=run_dir, on_epoch=stop)
    quick_start.resume(run_dir, test=False)
    assert_is_of_the_best_epoch(run_dir)


def test_every_run_of_a_comparison(toy_path, tmp_path):
    grid = {
        "datasets": ["toy"],
        "seeds": [SETTINGS.get("seed", 2020)],
        "settings": settings_of(toy_path),
        "models": [{"label": "HM4SR", "model": "HM4SR"}],
        "baselines": [],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    compare_grid(str(tmp_path / "grid.yaml"), out=tmp_path / "out")
    (record,) = lines(tmp_path / "out" / "results.jsonl")
    assert_is_of_the_best_epoch(tmp_path / "out" / record["run_dir"])


def test_every_trial_of_a_search_and_the_run_that_takes_the_best_over(toy_path, tmp_path):
    pytest.importorskip("hyperopt", reason="needs the extra tune")
    space = tmp_path / "space.hyper"
    space.write_text("learning_rate choice [0.3]\n", encoding="utf-8")
    settings = settings_of(toy_path)
    del settings["learning_rate"]
    plan = Plan(algorithm="exhaustive")
    tuned = tune_model(
        "HM4SR", "toy", params=space, overrides=settings, plan=plan, out=tmp_path / "out"
    )
    trial = tmp_path / "out" / f"trial-{tuned.best.number:04d}"
    assert_is_of_the_best_epoch(trial)
    taken = tmp_path / "taken"
    run_or_resume(taken, "HM4SR", "toy", settings_of(toy_path), trained=trial)
    assert_is_of_the_best_epoch(taken)
    assert history_of(taken) == history_of(trial)


def test_a_run_that_goes_on_keeps_no_result_of_an_earlier_end(toy_path, tmp_path):
    """More epochs were asked for: until they have ended, the run has none."""
    run_dir = tmp_path / "run"
    quick_start.run(
        "HM4SR",
        "toy",
        overrides=settings_of(toy_path, epochs=1),
        run_dir=run_dir,
        on_finish=report_run,
    )
    left = {path.name for path in run_dir.iterdir()}
    assert {"metrics.json", "serving.npz", "test_ranks.npz", "report.html"} < left
    text = (run_dir / "config.yaml").read_text(encoding="utf-8")
    (run_dir / "config.yaml").write_text(text.replace("epochs: 1\n", "epochs: 3\n"))

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick_start.resume(run_dir, on_epoch=stop)
    kept = {path.name for path in run_dir.iterdir()}
    assert kept == {"config.yaml", "history.jsonl", "checkpoint", "tensorboard"}
    quick_start.resume(run_dir, on_finish=report_run)
    assert {path.name for path in run_dir.iterdir()} == left
