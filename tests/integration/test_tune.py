"""``hm4sr tune`` by RecBole's ``HyperTuning``: what it finds, reads, leaves, and goes on with."""

import json

import pytest
import yaml
from tuning import SETTINGS, lines, tune, tune_in_process, words, write_space

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.run import parts as session
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK
from recbole_hm4sr.tune.command import summary_of, table_of
from recbole_hm4sr.tune.trials import TrialStore

pytest.importorskip("hyperopt", reason="needs the extra tune")
pytestmark = pytest.mark.integration

N_TRIALS, N_EPOCHS = 12, 3
# In the second epoch of the third trial.
KILL_AFTER = 2 * N_EPOCHS + 2
SPOILT = {"learning_rate": 1e-6, "hidden_dropout_prob": 0.7}


def outcomes(trials):
    """What must not depend on when a trial ran."""
    return {t.number: (t.settings, t.status, t.score, t.best_epoch, t.epochs) for t in trials}


@pytest.fixture(scope="module")
def killed(toy_path, tmp_path_factory):
    """A search whose process was killed in its third trial, and begun again by the same command."""
    folder = tmp_path_factory.mktemp("tune")
    spoilt = folder / "spoilt.yaml"
    spoilt.write_text(yaml.safe_dump(SPOILT), encoding="utf-8")
    settings = {**SETTINGS, "epochs": N_EPOCHS, "data_path": str(toy_path)}
    command = [
        "--model=SASRec", "--dataset=toy", f"--params={write_space(folder)}",
        f"--config_files={spoilt}", f"--trials={N_TRIALS}", f"--out={folder / 'out'}",
        *words(settings),
    ]  # fmt: skip
    tune_in_process(command, kill_after=KILL_AFTER)
    before = {
        "trials": lines(folder / "out" / "trials.jsonl"),
        "history": lines(folder / "out" / "trial-0003" / "history.jsonl"),
        "best": yaml.safe_load((folder / "out" / "best.yaml").read_text(encoding="utf-8")),
    }
    printed = tune_in_process(command)
    return {"folder": folder, "before": before, "printed": printed, "settings": settings}


def test_a_killed_search_goes_on_and_repeats_nothing(killed):
    before, out = killed["before"], killed["folder"] / "out"
    assert [record["number"] for record in before["trials"]] == [1, 2]
    assert [record["epoch"] for record in before["history"]] == [1, 2]
    after = lines(out / "trials.jsonl")
    assert after[:2] == before["trials"]
    assert [record["number"] for record in after] == list(range(1, N_TRIALS + 1))
    history = lines(out / "trial-0003" / "history.jsonl")
    # The same epochs, seconds too: the trial went on from its checkpoint.
    assert history[:2] == before["history"]
    assert [record["epoch"] for record in history] == list(range(1, N_EPOCHS + 1))
    assert "[1/12]" in killed["printed"]
    assert killed["printed"].count("finished before") == 2


def test_a_killed_search_ends_as_one_that_was_not(killed, toy_path, tmp_path):
    whole = tune(toy_path, tmp_path, n_trials=N_TRIALS, settings={"epochs": N_EPOCHS})
    store = TrialStore(whole.search, killed["folder"] / "out")
    assert outcomes(store.trials().values()) == outcomes(whole.trials)


def test_best_yaml_is_there_before_the_search_ends(killed):
    best = max(killed["before"]["trials"], key=lambda record: record["score"])
    expected = {**killed["settings"], **best["settings"]}
    assert killed["before"]["best"] == expected


def test_the_best_of_twelve_beats_the_spoilt_defaults(killed, tmp_path):
    assert_beats_spoilt("SASRec", "toy", killed["folder"], killed["settings"], tmp_path)


def assert_beats_spoilt(model, dataset, folder, settings, tmp_path):
    """Settings chosen on validation are better on the test part too, where they are tested once."""
    files = [folder / "spoilt.yaml"]
    spoilt = quick_start.run(
        model, dataset, config_files=files, overrides=settings, run_dir=tmp_path / "spoilt"
    )
    files.append(folder / "out" / "best.yaml")
    best = quick_start.run(model, dataset, config_files=files, run_dir=tmp_path / "best")
    trials = lines(folder / "out" / "trials.jsonl")
    assert len(trials) == N_TRIALS
    assert best.best_valid_score == max(trial["score"] for trial in trials)
    assert best.best_valid_score > spoilt.best_valid_score
    metric = settings["valid_metric"].lower()
    assert best.test[metric] > spoilt.test[metric]


def test_the_command_prints_a_line_a_trial_and_a_table_best_first(killed):
    printed = killed["printed"].splitlines()
    assert sum(": started" in line for line in printed) == N_TRIALS - 2
    trials = lines(killed["folder"] / "out" / "trials.jsonl")
    scores = sorted((f"{trial['score']:.4f}" for trial in trials), reverse=True)
    rows = [line.split("│")[2].strip() for line in printed if line.startswith("│")]
    assert rows == scores
    assert f"{N_TRIALS} trials: {N_TRIALS} done, 0 pruned, 0 failed" in killed["printed"]
    assert "nothing has been tested; test it once: hm4sr train" in killed["printed"]


def test_a_finished_search_runs_nothing_and_a_longer_one_goes_on(toy_path, tmp_path):
    plan = {"algorithm": "random", "settings": {"epochs": 1}}
    first = tune(toy_path, tmp_path, n_trials=2, **plan)
    before = (tmp_path / "out" / "trials.jsonl").read_bytes()
    said = []
    again = tune(toy_path, tmp_path, n_trials=2, said=said, **plan)
    assert again.trials == first.trials
    assert (tmp_path / "out" / "trials.jsonl").read_bytes() == before
    assert not [line for line in said if "started" in line]
    longer = tune(toy_path, tmp_path, n_trials=3, **plan)
    assert [trial.number for trial in longer.trials if trial not in first.trials] == [3]


class Sealed:
    """A loader of the test part that cannot be read."""

    def __init__(self, loader):
        self._dataset = loader._dataset

    def __iter__(self):
        raise AssertionError("the test part is read")


def test_no_trial_reads_the_test_part(toy_path, tmp_path, monkeypatch):
    original = session.make_loaders

    def sealed(config, dataset, parts):
        train, valid, test = original(config, dataset, parts)
        return train, valid, Sealed(test)

    monkeypatch.setattr(session, "make_loaders", sealed)
    tuned = tune(toy_path, tmp_path, algorithm="random", n_trials=2)
    assert [trial.status for trial in tuned.trials] == ["done"] * 2
    for number in (1, 2):
        folder = tmp_path / "out" / f"trial-{number:04d}"
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert (metrics["test"], metrics["test_include"], metrics["test_exclude"]) == ({}, {}, {})
        assert not (folder / "test_ranks.npz").exists()
    assert tuned.best.score == max(trial.score for trial in tuned.trials)
    # The seal holds: a run that is to be tested breaks it.
    settings = {**SETTINGS, "epochs": 1, "data_path": str(toy_path)}
    with pytest.raises((AssertionError, AttributeError), match=r"test part is read|Sealed"):
        quick_start.run("SASRec", "toy", overrides=settings, run_dir=tmp_path / "run")


def test_an_exhaustive_search_tries_each_combination_once(toy_path, tmp_path):
    space = "learning_rate choice [0.001, 0.01]\nn_heads quniform 1,2,1\n"
    tuned = tune(toy_path, tmp_path, space=space, algorithm="exhaustive", settings={"epochs": 1},
                 said=(said := []))  # fmt: skip
    tried = sorted(tuple(trial.settings.values()) for trial in tuned.trials)
    assert tried == [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]
    assert "exhaustive search of 4 trials" in said[0]


@pytest.mark.parametrize("algorithm", ["random", "bayes"])
def test_a_finite_space_is_never_tried_twice(toy_path, tmp_path, algorithm):
    space = "learning_rate choice [0.001, 0.01, 0.02]\n"
    tuned = tune(toy_path, tmp_path, space=space, algorithm=algorithm, n_trials=20,
                 settings={"epochs": 1})  # fmt: skip
    assert sorted(t.settings["learning_rate"] for t in tuned.trials) == [0.001, 0.01, 0.02]


def test_a_failed_trial_is_a_row_with_its_reason_and_runs_again_when_asked(
    toy_path, tmp_path, monkeypatch
):
    space = "hidden_size choice [16, 15]\nn_heads choice [2, 3]\n"
    plan = {"space": space, "algorithm": "exhaustive", "settings": {"epochs": 1}}
    with monkeypatch.context() as patch:
        patch.delitem(SETTINGS, "hidden_size")
        tuned = tune(toy_path, tmp_path, **plan)
        statuses = {tuple(trial.settings.values()): trial.status for trial in tuned.trials}
        assert statuses == {
            (16, 2): "done", (16, 3): "failed", (15, 2): "failed", (15, 3): "done"
        }  # fmt: skip
        assert "hidden_size must be a multiple of n_heads (2), got 15" in tuned.trials[-1].reason
        said = []
        again = tune(toy_path, tmp_path, retry=True, said=said, **plan)
    assert sum(": started" in line for line in said) == 2
    assert len(again.trials) == 4
    assert len(lines(tmp_path / "out" / "trials.jsonl")) == 6
    assert any(
        "failed: hidden_size must be a multiple of n_heads" in line for line in summary_of(again)
    )
    assert [row[1] for row in table_of(again)[1]][2:] == ["failed", "failed"]


def test_a_search_ends_when_nothing_better_comes(toy_path, tmp_path):
    space = "learning_rate choice [0.02, 1e-7, 2e-7, 3e-7, 4e-7]\n"
    tuned = tune(toy_path, tmp_path, space=space, algorithm="exhaustive", early_stop=3)
    assert tuned.best.settings == {"learning_rate": 0.02}
    assert len(tuned.trials) == 1 + 3


def test_a_folder_takes_one_search_at_a_time_and_no_other(toy_path, tmp_path):
    tune(toy_path, tmp_path, n_trials=1, settings={"epochs": 1})
    with pytest.raises(ConfigError, match="have another fixed settings or data; use another --out"):
        tune(toy_path, tmp_path, n_trials=1, settings={"epochs": 2})
    with pytest.raises(ConfigError, match="have another space"):
        tune(toy_path, tmp_path, n_trials=1, settings={"epochs": 1},
             space="learning_rate uniform 0.001,0.01\n")  # fmt: skip
    with (
        locked(tmp_path / "out" / ".lock"),
        pytest.raises(ConfigError, match="one search at a time"),
    ):
        tune(toy_path, tmp_path, n_trials=1, settings={"epochs": 1})


@pytest.mark.parametrize(
    ("space", "flags", "message"),
    [
        ("hiden_size choice [16]\n", [], "line 1: the setting 'hiden_size'"),
        ("n_layers choice [1]\n", ["--epoch=3"], "did you mean 'epochs'"),
        ("n_layers choice [1]\n", ["--algo=grid"], "--algo must be one of exhaustive, random, ba"),
        ("n_layers choice [1]\n", ["--engine=ray"], "--engine must be one of hyperopt, optuna"),
        ("n_layers choice [1]\n", ["--trials=0"], "--trials must be 1 or more, got 0"),
        ("n_layers choice [1]\n", ["--prune"], "--prune must go with --engine=optuna"),
        ("learning_rate uniform 0,1\n", ["--algo=exhaustive"], "must have choice and quniform on"),
        ("n_layers choice [1]\n", ["--model=SASrec"], "did you mean 'SASRec'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_runs(toy_path, tmp_path, capsys, space, flags, message):
    arguments = [
        "--dataset=toy",
        f"--data_path={toy_path}",
        f"--params={write_space(tmp_path, space)}",
    ]
    arguments += ["--model=SASRec"] * (not any("--model" in flag for flag in flags))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["tune", *arguments, f"--out={tmp_path / 'out'}", *flags])
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_engine_names_its_extra(toy_path, tmp_path, monkeypatch):
    for engine, extra in (("hyperopt", "tune"), ("optuna", "optuna")):
        monkeypatch.setitem(__import__("sys").modules, engine, None)
        with pytest.raises(ConfigError, match=rf"recbole-hm4sr\[{extra}\]"):
            tune(toy_path, tmp_path, engine=engine)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_is_finished(toy_path, tmp_path, capsys, monkeypatch):
    from recbole_hm4sr.train.trainer import Trainer

    original, epochs = Trainer._end_epoch, []

    def after_epoch(self, *arguments):
        original(self, *arguments)
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_epoch", after_epoch)
    settings = {**QUICK, "data_path": str(toy_path)}
    with pytest.raises(SystemExit, match="130"):
        cli.main(["tune", "--model=SASRec", "--dataset=toy", f"--out={tmp_path / 'out'}",
                  f"--params={write_space(tmp_path)}", *words(settings)])  # fmt: skip
    assert "Go on with the same command" in capsys.readouterr().out
    assert len(lines(tmp_path / "out" / "trials.jsonl")) == 1
    begun = json.loads((tmp_path / "out" / "trial-0002" / "trial.json").read_text())
    assert begun["starts"] == []


@pytest.mark.slow
def test_on_the_sample_twelve_trials_beat_the_spoilt_defaults_and_survive_a_kill(tmp_path):
    spoilt = tmp_path / "spoilt.yaml"
    spoilt.write_text(yaml.safe_dump(SPOILT), encoding="utf-8")
    settings = {"epochs": 2, "valid_metric": "NDCG@20", "n_threads": 1}
    command = [
        "--model=HM4SR", "--dataset=sports", f"--params={write_space(tmp_path)}",
        f"--config_files={spoilt}", f"--trials={N_TRIALS}", f"--out={tmp_path / 'out'}",
        *words(settings),
    ]  # fmt: skip
    tune_in_process(command, kill_after=5)  # in the first epoch of the third trial
    assert len(lines(tmp_path / "out" / "trials.jsonl")) == 2
    tune_in_process(command)
    assert_beats_spoilt("HM4SR", "sports", tmp_path, settings, tmp_path)
