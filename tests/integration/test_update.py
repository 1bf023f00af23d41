"""A served run that learns from new interactions: rows, memory, the same file twice, undo."""

import shutil

import numpy as np
import pytest
import torch
from laterfiles import write_csv, write_halves
from servedruns import train_toy

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.later import learning
from recbole_hm4sr.later import update as updating
from recbole_hm4sr.later.choosing import ranking_of
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.later.update import undo, update
from recbole_hm4sr.model.capabilities import views
from recbole_hm4sr.run.serving_file import FILE_NAME, read_serving_file, served_checkpoint
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refresh import refresh
from recbole_hm4sr.testing.toydata import DAY
from recbole_hm4sr.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 1}
MOMENT = {"split": {"GT": [0.8, 0.1, 0.1]}, "targets": "all", "order": "TO", "mode": "full"}
MEMORY = {
    "memory": "events", "MAX_ITEM_LIST_LENGTH": 10, "memory_refresh": ["none", "request"],
    "eval_args": {**MOMENT, "group_by": "user"},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("halves")
    return path, write_halves(path)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "memory": train_toy("SASRecPlus", data[0], folder / "memory", **SMALL, **MEMORY),
        "recbole": train_toy("SASRec", data[0], folder / "recbole", **SMALL),
    }


@pytest.fixture(params=["memory", "recbole"])
def run(request, trained, tmp_path):
    return shutil.copytree(trained[request.param], tmp_path / "run")


@pytest.fixture
def files(data, tmp_path):
    """The later interactions in two files, of which ten are in both."""
    later = data[1]
    return [
        write_csv(tmp_path / f"{name}.csv", rows)
        for name, rows in (("first", later[:60]), ("second", later[50:]))
    ]


def answers(run):
    found = Recommender.load(run).recommend([(["B001", "B002"], [1_700_000_000] * 2)], k=24)
    return list(found.records())


def contents(run):
    return {
        str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()
    }


def test_a_run_learns_knows_the_file_again_and_forgets(run, files, data):
    before, asked = contents(run), answers(run)
    users, items = ({row[k] for row in data[1][:60]} for k in (0, 1))
    done = update(run, files[0])
    assert (done.n_added, done.n_skipped) == (60, 0)
    assert done.n_users == len(users & {"new"}) == 1
    assert done.n_items == len(items & {"B777"}) == 1
    assert done.n_learned == 59  # all but the first of the new user
    assert "B777" in read_serving_file(run).data.item_tokens
    first = contents(run)
    # What training has left stays as it is.
    assert {k: first[k] for k in before if not k.startswith(("serving", "memory", "refr"))} == {
        k: v for k, v in before.items() if not k.startswith(("serving", "memory", "refr"))
    }
    learned = answers(run)
    assert learned != asked
    assert update(run, files[0]).is_known
    assert contents(run) == first

    again = update(run, files[1])
    assert again.n_skipped == 10
    assert again.n_added == len(data[1]) - 60
    assert answers(run) != learned
    undo(run)
    assert contents(run)[FILE_NAME] == first[FILE_NAME]
    assert answers(run) == learned
    undo(run)
    assert contents(run)[FILE_NAME] == before[FILE_NAME]
    assert answers(run) == asked
    with pytest.raises(ConfigError, match="must have an update that can be taken back"):
        undo(run)
    # The same again gives the same: what it learns depends on the run and the file alone.
    update(run, files[0])
    assert answers(run) == learned


def test_an_update_that_is_stopped_leaves_the_run_as_it_was(run, files, monkeypatch):
    asked = answers(run)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(updating, "write_serving_file", stop)
    with pytest.raises(KeyboardInterrupt):
        update(run, files[0])
    assert answers(run) == asked
    monkeypatch.undo()
    assert update(run, files[0]).n_added == 60


def test_the_memory_is_that_of_a_refresh_and_refreshed_rows_are_learned(trained, files, tmp_path):
    """By one moment a memory holds all interactions: both ways lead to the same events."""
    runs = [shutil.copytree(trained["memory"], tmp_path / name) for name in ("a", "b", "c")]
    update(runs[0], files[0])
    refresh(runs[1], files[0])
    kept = [read_serving_file(run).memory for run in runs[:2]]
    assert kept[0].whole == kept[1].whole  # by hash
    for name in ("events.others", "times", "starts", "clock"):
        assert kept[0].served[name] == kept[1].served[name]
    # The file that was refreshed is learned by the next update, with its own.
    done = update(runs[1], files[1])
    assert done.n_learned == 59 + done.n_added
    with pytest.raises(ConfigError, match="must be from 1 to 1000, got 0"):
        update(runs[2], files[0], recipe=Recipe(passes=0))
    update(runs[2], files[0])
    refresh(runs[2], files[1])
    with pytest.raises(ConfigError, match="was refreshed after its last update"):
        undo(runs[2])


def test_an_item_that_is_bought_after_another_is_learned(data, trained, tmp_path):
    """Many passes over rows of one new item after another make it the first of the list."""
    run = shutil.copytree(trained["recbole"], tmp_path / "run")
    rows = [
        row
        for k in range(40)
        for row in ([f"v{k}", "B005", 1_700_000_000], [f"v{k}", "B888", 1_700_000_000 + DAY])
    ]
    update(run, write_csv(tmp_path / "rows.csv", rows), recipe=Recipe(passes=60, replay=0.0))
    top = Recommender.load(run).recommend([(["B005"], [1_700_500_000])], k=1)
    assert [it["item"] for it in next(iter(top.records()))["items"]] == ["B888"]
    assert np.isin("B888", read_serving_file(run).data.item_tokens)


def test_the_weight_of_the_dense_part_is_chosen_by_what_is_not_yet_learned(
    trained, data, tmp_path, monkeypatch
):
    """By each weight that is tried the newest rows are ranked; the best is kept, in each view."""
    run, seen = shutil.copytree(trained["memory"], tmp_path / "run"), []

    def choose(model, config, plan, part, targets):
        times = part.log.times[targets]
        assert part.ends_before <= times.min()
        assert not np.isin(targets, part.inter_feat.targets.numpy()).any()
        with torch.no_grad():  # a dense part that says something beside the memory
            model.item_embedding.weight *= 100
        for number, view in enumerate(views(model)):
            found = {}
            for weight in (0, 0.25, 0.5, 0.75, 1):
                model.dense_weight.values[number] = weight
                loader, evaluator = ranking_of(model, config, plan, part, targets)
                with view.entered():
                    found[weight] = evaluator.measure(loader)["ndcg@10"]
            assert len(set(found.values())) > 1
            best = max(found, key=lambda it: (found[it], it))
            # It begins at another one than the best.
            model.dense_weight.values[number] = 0 if best else 1
            seen.append(best)
        model.dense_weight.is_chosen[:] = False  # all are tried
        own(model, config, plan, part, targets)

    own = learning.choose_again
    monkeypatch.setattr(learning, "choose_again", choose)
    update(run, write_csv(tmp_path / "rows.csv", data[1]))
    state = read_checkpoint(served_checkpoint(run))["state_dict"]
    assert state["dense_weight.values"].tolist() == seen
    assert len(seen) == 2
