"""Curves of a run: where they are written, when, and what is in them."""

import pytest
from datafiles import NEW_YEAR, read_config, walks, write_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_hm4sr.train.costs import Costs
from recbole_hm4sr.train.epochs import EpochRecord, Validation
from recbole_hm4sr.train.event_log import EventLog

LOSSES = {"cross_entropy": 2.0, "contrast": 1.0}
RECORD = EpochRecord(
    epoch=2,
    loss=3.0,
    losses=LOSSES,
    valid_score=0.5,
    valid={"ndcg@10": 0.5},
    is_best=True,
    train_seconds=4.0,
    valid_seconds=0.25,
    views={"week": Validation(0.75, {"ndcg@10": 0.75}, is_best=True)},
)
EXPECTED = {
    "Loss/Train": [(1, 3.0), (2, 3.0)],
    "Loss/cross_entropy": [(1, 2.0), (2, 2.0)],
    "Loss/contrast": [(1, 1.0), (2, 1.0)],
    "LearningRate/0": [(1, 0.5), (2, 0.5)],
    "Seconds/train": [(1, 4.0), (2, 4.0)],
    "Memory/peak_mb": [(1, 3.0), (2, 3.0)],
    "Valid/ndcg@10": [(2, 0.5)],
    "Valid-week/ndcg@10": [(2, 0.75)],
    "Seconds/valid": [(2, 0.25)],
    "Test/ndcg@10": [(2, 0.125)],
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = write_dataset(tmp_path / "toy", walks([4, 5], NEW_YEAR, step=1))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return read_config(path)


def write(log):
    """Two epochs of a run, of which the second was validated, and its test."""
    for epoch in (1, 2):
        log.trained(
            epoch, LOSSES, seconds=4.0, rates=[0.5], costs=Costs(peak_memory_bytes=3 * 2**20)
        )
    log.validated(RECORD)
    log.tested({"ndcg@10": 0.125}, best_epoch=2)
    log.close()


def scalars(folder):
    """Name to (step, value) of all scalars in a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_folders_are_made_with_the_first_value(config, tmp_path):
    log = EventLog(config, tmp_path / "run")
    log.tested({"ndcg@10": 0.5}, 1)  # of a run that is tested again
    log.close()
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_number(config, tmp_path):
    write(EventLog(config, tmp_path / "run"))
    assert list((tmp_path / "work").iterdir()) == []  # where RecBole writes them
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tensorboard"]
    assert scalars(tmp_path / "run" / "tensorboard") == EXPECTED


def test_the_other_processes_of_a_run_write_nothing(config, tmp_path):
    write(EventLog(config, tmp_path / "run", silent=True))
    assert not (tmp_path / "run").exists()


def test_mlflow_keeps_every_number_in_the_run_s_folder(config, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow-skinny")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config["log_mlflow"] = True
    write(EventLog(config, tmp_path / "run"))
    resumed = EventLog(config, tmp_path / "run")
    resumed.trained(3, LOSSES, seconds=5.0, rates=[0.5], costs=Costs())
    resumed.close()
    client = mlflow.MlflowClient((tmp_path / "run" / "mlruns").as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "recbole-hm4sr"]
    (run,) = client.search_runs([experiment.experiment_id])  # the resumed one is the same
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == str(config["learning_rate"])
    for name, values in EXPECTED.items():
        history = client.get_metric_history(run.info.run_id, name.replace("@", "_at_"))
        assert [(one.step, one.value) for one in history if one.step < 3] == values, name
    seconds = client.get_metric_history(run.info.run_id, "Seconds/train")
    assert seconds[-1].value == 5.0
    assert list((tmp_path / "work").iterdir()) == []


def test_weights_and_biases_gets_every_number_offline(config, tmp_path, monkeypatch):
    """Its own package is asked for what it is told; nothing is sent."""
    told = {}

    class Run:
        def __init__(self, **options):
            told.update(options, logged=[])

        def log(self, values):
            told["logged"].append(values)

        def finish(self, **_):
            told["finished"] = True

    class Wandb:
        init = Run
        Settings = dict

    monkeypatch.setitem(__import__("sys").modules, "wandb", Wandb)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config["log_wandb"], config["wandb_project"] = True, "shop"
    write(EventLog(config, tmp_path / "run"))
    assert (told["project"], told["mode"], told["dir"]) == (
        "shop",
        "offline",
        str(tmp_path / "run"),
    )
    assert told["finished"]
    found = {}
    for values in told["logged"]:
        for name, value in values.items():
            if name != "epoch":
                found.setdefault(name, []).append((values["epoch"], value))
    assert found == EXPECTED
    first = told["id"]
    log = EventLog(config, tmp_path / "run")
    log.validated(RECORD)
    assert (told["id"], told["resume"]) == (first, "allow")
