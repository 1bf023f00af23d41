"""Trials on the disk: lines, the best settings, what is torn, what dies again and again."""

import json
import logging

import pytest
import yaml

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.tune.search import Search, remember_search
from recbole_hm4sr.tune.space import Dimension, Space
from recbole_hm4sr.tune.trials import Trial, TrialStore, best_trial, ranked, trials_since_best


def make_search(tmp_path, **changes):
    values = {
        "dataset": "toy",
        "model": "SASRec",
        "space": Space(tmp_path / "s.hyper", (Dimension("n_layers", "choice", (1, 2, 3)),)),
        "fixed": {"epochs": 4},
        "metric": "NDCG@10",
        "bigger": True,
        "seed": 1,
        "epochs": 4,
        "fingerprint": "f",
    }
    return Search(**{**values, **changes})


@pytest.fixture
def store(tmp_path):
    return TrialStore(make_search(tmp_path), tmp_path / "out")


def trial(number, score, status="done", layers=1):
    return Trial(number=number, settings={"n_layers": layers}, status=status, score=score)


def test_the_best_settings_are_written_after_every_trial_as_settings(store):
    assert store.finish(trial(1, 0.2, layers=1))
    assert yaml.safe_load(store.best_file.read_text()) == {"epochs": 4, "n_layers": 1}
    assert store.finish(trial(2, 0.3, layers=2))
    assert not store.finish(trial(3, 0.1, layers=3))
    text = store.best_file.read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"epochs": 4, "n_layers": 2}
    assert "trial 2, validation NDCG@10 0.300000" in text


def test_only_the_best_trial_keeps_its_checkpoints(store):
    for number, score in ((1, 0.2), (2, 0.3), (3, 0.1)):
        (store.run_dir(number) / "checkpoint").mkdir(parents=True)
        store.finish(trial(number, score))
    kept = [number for number in (1, 2, 3) if (store.run_dir(number) / "checkpoint").exists()]
    assert kept == [2]


def test_a_trial_without_a_whole_run_is_never_the_best(store):
    trials = [trial(1, None, "failed"), trial(2, 0.9, "pruned"), trial(3, 0.1), trial(4, 0.1)]
    assert best_trial(trials, bigger=True).number == 3
    assert [t.number for t in ranked(trials, bigger=True)] == [3, 4, 2, 1]
    assert best_trial(trials[:2], bigger=True) is None
    assert not store.finish(trials[0])
    assert not store.best_file.exists()


def test_less_can_be_better(tmp_path):
    trials = [trial(1, 0.2), trial(2, 0.1), trial(3, 0.3)]
    assert best_trial(trials, bigger=False).number == 2
    assert [t.number for t in ranked(trials, bigger=False)] == [2, 1, 3]
    assert trials_since_best(trials, bigger=False) == 1
    assert trials_since_best(trials, bigger=True) == 0


def test_a_torn_line_is_left_out_and_the_last_line_of_a_trial_counts(store, caplog):
    store.finish(trial(1, None, "failed"))
    with (store.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"number": 2, "sett')
    with caplog.at_level(logging.WARNING):
        store.finish(trial(1, 0.5))
        trials = store.trials()
    assert list(trials) == [1]
    assert trials[1] == trial(1, 0.5)
    assert "line 2 is torn" in caplog.text


def test_a_trial_that_ends_its_process_again_and_again_is_given_up(store):
    assert [store.begin(1, {"n_layers": 2}) for _ in range(3)] == [None] * 3
    assert store.begin(1, {"n_layers": 2}) == "its process has ended 3 times in epoch 1"
    assert store.begun(1) == {"n_layers": 2}


def test_a_trial_that_comes_further_each_time_goes_on(store):
    history = store.run_dir(1) / "history.jsonl"
    for epoch in range(6):
        assert store.begin(1, {"n_layers": 2}) is None
        with history.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch + 1}) + "\n")


def test_ctrl_c_is_not_held_against_a_trial(store):
    for _ in range(6):
        assert store.begin(1, {"n_layers": 2}) is None
        store.interrupted(1)


def test_a_damaged_file_of_a_trial_is_named(store):
    store.begin(1, {"n_layers": 2})
    (store.run_dir(1) / "trial.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"trial.json must be readable JSON; remove .*trial-0001"):
        store.begun(1)


def test_a_folder_holds_one_search(tmp_path):
    search = make_search(tmp_path)
    remember_search(search, "hyperopt", tmp_path)
    remember_search(search, "hyperopt", tmp_path)
    with pytest.raises(ConfigError, match="have another engine; use another --out"):
        remember_search(search, "optuna", tmp_path)
    other = make_search(tmp_path, fingerprint="g", dataset="games")
    with pytest.raises(ConfigError, match="another dataset, another fixed settings or data"):
        remember_search(other, "hyperopt", tmp_path)
