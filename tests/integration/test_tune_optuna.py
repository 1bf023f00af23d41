"""``hm4sr tune --engine=optuna``: hopeless trials end early, processes share one search."""

import contextlib

import pytest
from tuning import SETTINGS, lines, tune, tune_in_process, words, write_space

from recbole_hm4sr.base.files import append_line
from recbole_hm4sr.tune.search import plan_search
from recbole_hm4sr.tune.space import read_space
from recbole_hm4sr.tune.trials import TrialStore
from recbole_hm4sr.tune.with_optuna import _Worker, open_study, optuna_space

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
pytestmark = pytest.mark.integration

N_EPOCHS = 3
FINISHED = {"COMPLETE", "PRUNED", "FAIL"}


def states(folder, search):
    trials = open_study(TrialStore(search, folder)).get_trials(deepcopy=False)
    return [trial.state.name for trial in trials]


def test_both_engines_draw_from_the_same_space(tmp_path):
    text = "a choice ['x', 'y']\nb uniform 0.1,0.5\nc quniform 8,32,8\nd quniform 0,0.3,0.1\n"
    space = read_space(write_space(tmp_path, text + "e loguniform -7,-3\n"))
    assert optuna_space(space) == {
        "a": optuna.distributions.CategoricalDistribution([0, 1]),
        "b": optuna.distributions.FloatDistribution(0.1, 0.5),
        "c": optuna.distributions.IntDistribution(8, 32, step=8),
        "d": optuna.distributions.FloatDistribution(0, 0.3, step=0.1),
        "e": optuna.distributions.FloatDistribution(*space.dimensions[4].bounds, log=True),
    }


@pytest.mark.parametrize("algorithm", ["exhaustive", "random", "bayes"])
def test_every_algorithm_tries_new_settings_only(toy_path, tmp_path, algorithm):
    space = "learning_rate choice [0.001, 0.01]\nn_heads quniform 1,2,1\n"
    tuned = tune(toy_path, tmp_path, space=space, engine="optuna", algorithm=algorithm,
                 n_trials=9, settings={"epochs": 1})  # fmt: skip
    tried = sorted(tuple(trial.settings.values()) for trial in tuned.trials)
    assert tried == [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]
    assert tuned.best.score == max(trial.score for trial in tuned.trials)


def test_a_hopeless_trial_ends_early_and_is_never_the_best(toy_path, tmp_path):
    # Five trials that show what is usual, then one that learns nothing.
    space = "learning_rate choice [0.01, 0.02, 0.03, 0.015, 0.025, 1e-7]\n"
    plan = {"space": space, "engine": "optuna", "algorithm": "exhaustive"}
    said = []
    tuned = tune(toy_path, tmp_path, settings={"epochs": 4}, said=said, **plan)
    assert [trial.status for trial in tuned.trials] == ["done"] * 5 + ["pruned"]
    hopeless = tuned.trials[-1]
    assert (hopeless.settings, hopeless.epochs) == ({"learning_rate": 1e-7}, 2)
    assert hopeless.reason == "ended after epoch 2: worse than the median of the other trials"
    assert "hopeless" in said[-1]
    assert states(tmp_path / "out", tuned.search)[-1] == "PRUNED"


def test_nothing_is_pruned_when_asked_or_in_the_last_epoch(toy_path, tmp_path):
    space = "learning_rate choice [0.01, 0.02, 0.03, 0.015, 0.025, 1e-7]\n"
    plan = {"space": space, "engine": "optuna", "algorithm": "exhaustive"}
    last = tune(toy_path, tmp_path, settings={"epochs": 2}, **plan)
    assert {trial.status for trial in last.trials} == {"done"}
    (tmp_path / "no").mkdir()
    never = tune(toy_path, tmp_path / "no", settings={"epochs": 3}, prune=False, **plan)
    assert {trial.status for trial in never.trials} == {"done"}


@pytest.fixture(scope="module")
def shared(toy_path, tmp_path_factory):
    """A process killed in its third trial; then one beside another that holds a trial."""
    folder = tmp_path_factory.mktemp("shared")
    settings = {**SETTINGS, "epochs": N_EPOCHS, "data_path": str(toy_path)}
    space, out = write_space(folder), folder / "out"
    command = [
        "--model=SASRec", "--dataset=toy", f"--params={space}", "--engine=optuna", "--trials=6",
        f"--out={out}", *words(settings),
    ]  # fmt: skip
    tune_in_process(command, kill_after=2 * N_EPOCHS + 2)
    search = plan_search("toy", "SASRec", read_space(space), overrides=settings)
    killed = {
        "trials": lines(out / "trials.jsonl"),
        "history": lines(out / "trial-0003" / "history.jsonl"),
        "states": states(out, search),
    }
    store = TrialStore(search, out)
    with contextlib.ExitStack() as held:
        # This process works at the third trial, which it has taken over, while another runs.
        taken = _Worker(store, open_study(store), "bayes", 6).claim(held)
        tune_in_process(command)
        beside = {"trials": lines(out / "trials.jsonl"), "states": states(out, search)}
    return {
        "search": search, "out": out, "killed": killed, "taken": taken.number, "beside": beside,
        "command": command,
    }  # fmt: skip


def test_a_killed_process_leaves_its_trial_to_others(shared):
    assert [record["number"] for record in shared["killed"]["trials"]] == [1, 2]
    assert shared["killed"]["states"] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert shared["taken"] == 2


def test_processes_share_the_trials_and_leave_those_of_others_alone(shared):
    assert [record["number"] for record in shared["beside"]["trials"]] == [1, 2, 4, 5, 6]
    assert shared["beside"]["states"][2] == "RUNNING"
    assert set(shared["beside"]["states"][3:]) <= FINISHED
    # The other process has not touched the trial whose lock is held.
    history = lines(shared["out"] / "trial-0003" / "history.jsonl")
    assert history == shared["killed"]["history"]


def test_a_trial_that_nobody_holds_goes_on_from_its_checkpoint(shared, toy_path, tmp_path):
    plan = {"engine": "optuna", "n_trials": 6, "settings": {"epochs": N_EPOCHS}}
    tuned = tune(toy_path, shared["out"].parent, **plan)
    assert sorted(trial.number for trial in tuned.trials) == [1, 2, 3, 4, 5, 6]
    history = lines(shared["out"] / "trial-0003" / "history.jsonl")
    assert history[: len(shared["killed"]["history"])] == shared["killed"]["history"]
    assert set(states(shared["out"], tuned.search)) <= FINISHED
    assert len({str(trial.settings) for trial in tuned.trials}) == 6


def test_a_process_that_died_before_it_could_tell_is_believed(toy_path, tmp_path):
    plan = {"engine": "optuna", "algorithm": "random", "settings": {"epochs": 1}}
    tuned = tune(toy_path, tmp_path, n_trials=1, **plan)
    store = TrialStore(tuned.search, tmp_path / "out")
    with contextlib.ExitStack() as held:
        claimed = _Worker(store, open_study(store), "random", 2).claim(held)
    settings = tuned.search.space.settings(claimed.params)
    record = {"number": 2, "settings": settings, "status": "done", "score": 0.99}
    append_line(tmp_path / "out" / "trials.jsonl", record)
    again = tune(toy_path, tmp_path, n_trials=2, **plan)
    assert again.best.score == 0.99
    assert not (tmp_path / "out" / "trial-0002" / "history.jsonl").exists()
    assert states(tmp_path / "out", tuned.search) == ["COMPLETE", "COMPLETE"]


def test_failed_settings_run_again_when_asked(toy_path, tmp_path, monkeypatch):
    monkeypatch.delitem(SETTINGS, "hidden_size")
    plan = {
        "space": "hidden_size choice [16, 15]\nn_heads choice [2]\n",
        "engine": "optuna",
        "algorithm": "exhaustive",
        "settings": {"epochs": 1},
    }
    first = tune(toy_path, tmp_path, **plan)
    assert [trial.status for trial in first.trials] == ["done", "failed"]
    assert tune(toy_path, tmp_path, **plan).trials == first.trials
    again = tune(toy_path, tmp_path, retry=True, **plan)
    assert [trial.status for trial in again.trials] == ["done", "failed", "failed"]
    assert again.trials[2].settings == first.trials[1].settings
