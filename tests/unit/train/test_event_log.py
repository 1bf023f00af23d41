"""Curves of a run: where they are written, when, and what is in them."""

import pytest
from datafiles import NEW_YEAR, read_config, walks, write_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_hm4sr.train.event_log import EventLog


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = write_dataset(tmp_path / "toy", walks([4, 5], NEW_YEAR, step=1))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return read_config(path)


def scalars(folder):
    """Name to (step, value) of all scalars in a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_the_folder_is_made_with_the_first_value(config, tmp_path):
    log = EventLog(config, tmp_path / "events")
    log.close()
    assert not (tmp_path / "events").exists()


def test_losses_and_scores_have_recbole_s_names_and_its_numbers_of_epochs(config, tmp_path):
    log = EventLog(config, tmp_path / "events")
    for epoch, loss in enumerate((3.0, 2.5)):
        log.trained(epoch, loss)
    log.validated(1, 0.5, {"ndcg@10": 0.5})
    log.ended(0.5)
    log.close()
    assert list((tmp_path / "work").iterdir()) == []  # where RecBole writes them
    found = scalars(tmp_path / "events")
    assert found == {"Loss/Train": [(0, 3.0), (1, 2.5)], "Vaild_score": [(1, 0.5)]}
    (settings,) = (path for path in (tmp_path / "events").iterdir() if path.is_dir())
    assert scalars(settings) == {"hparam/best_valid_result": [(0, 0.5)]}


def test_the_other_processes_of_a_run_write_nothing(config, tmp_path):
    log = EventLog(config, tmp_path / "events", silent=True)
    log.trained(0, 1.0)
    log.validated(0, 0.5, {})
    log.ended(0.5)
    log.close()
    assert not (tmp_path / "events").exists()
