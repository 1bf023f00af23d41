"""A model that is measured in several views: one training, a best epoch for each."""

import contextlib
import json

import pytest
import torch
from test_trainer import Arithmetic

from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.model.capabilities import AS_IT_IS, View, views
from recbole_hm4sr.model.registry import ModelEntry
from recbole_hm4sr.run import parts as stages
from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK


class TwoViews(Arithmetic):
    """Hits the targets or not, as the script of the view says, epoch by epoch.

    The weight is the number of the epoch, so that a checkpoint says of which epoch it is.
    """

    hits = {"first": (1, 0, 0, 0, 0, 0, 0), "second": (0, 0, 1, 0, 0, 0, 0)}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.view = "first"
        self.asked = []

    def views(self):
        return tuple(View(name, lambda name=name: self.set_to(name)) for name in self.hits)

    @contextlib.contextmanager
    def set_to(self, name):
        before, self.view = self.view, name
        yield
        self.view = before

    def begin_epoch(self, epoch, data):
        with torch.no_grad():
            self.weight[:] = epoch

    def named_losses(self, interaction):
        return {"none": (self.weight * 0).sum()}

    def full_sort_predict(self, interaction):
        epoch = int(self.weight[0])
        self.asked.append((self.view, epoch))
        scores = torch.zeros(len(interaction), self.n_items)
        if self.hits[self.view][epoch - 1]:
            scores[torch.arange(len(interaction)), interaction["item_id"]] = 1.0
        return scores


@pytest.fixture
def opened(toy_path, tmp_path):
    def open_with(model=TwoViews, folder="run", **settings):
        plan = compose(
            ModelEntry("TwoViews", lambda: model, lambda: None),
            "toy",
            overrides={
                **QUICK, "data_path": str(toy_path), "use_gpu": False, "learner": "sgd",
                "epochs": 7, "stopping_step": 2, **settings,
            },
        )  # fmt: skip
        return build_parts(plan, tmp_path / folder)

    return open_with


def best_of(epochs, view):
    return [(epochs[n].views[view] if view else epochs[n]).is_best for n in range(len(epochs))]


def test_a_model_without_views_is_measured_as_it_is():
    assert views(object()) == (AS_IT_IS,)


def test_training_ends_when_no_view_gets_better_any_more(opened):
    """The first is best in epoch 1, the second in 3: two more than two epochs later it is over."""
    parts = opened()
    RunFolder(parts.run_dir).begin(parts.plan)
    parts.trainer.fit(parts.train_data, parts.valid_data)
    epochs = parts.trainer.epochs
    assert len(epochs) == 3 + 2 + 1
    assert best_of(epochs, "") == [True] + 5 * [False]
    assert best_of(epochs, "second") == [True, True, True, False, False, False]  # a tie is better
    assert [parts.trainer.best_epoch(view) for view in parts.trainer.views] == [1, 3]
    lines = [
        json.loads(line) for line in (parts.run_dir / "history.jsonl").read_text().split("\n")[:-1]
    ]
    assert lines[2]["valid_score"] == lines[2]["valid"]["ndcg@10"] < 1.0
    assert lines[2]["views"]["second"]["valid_score"] == 1.0
    assert parts.trainer.finished


def test_each_view_is_tested_at_its_own_best_epoch_and_the_first_stays(opened):
    parts = opened()
    folder = RunFolder(parts.run_dir)
    folder.begin(parts.plan)
    trained = stages.train(parts)
    assert (trained.best_epoch, trained.views["second"].best_epoch) == (1, 3)
    parts.model.asked.clear()
    evaluation = stages.test(parts)
    assert set(parts.model.asked) == {("first", 1), ("second", 3)}
    assert parts.model.asked[-1] == ("first", 1)
    folder.finish(trained, evaluation, parts)
    metrics = json.loads(folder.metrics.read_text())
    found = {name: (view["best_epoch"], view["ranks"]) for name, view in metrics["views"].items()}
    assert found == {"first": (1, "test_ranks.npz"), "second": (3, "test_ranks-second.npz")}
    assert metrics["views"]["first"]["test_exclude"] == metrics["test_exclude"]
    for view in metrics["views"].values():
        assert read_ranks(folder.path, view["ranks"])["rank_include"].max() == 1
    folder.remove_results()
    assert not list(folder.path.glob("test_ranks*"))


def test_of_a_run_that_is_not_tested_each_view_has_its_validation(opened):
    parts = opened()
    RunFolder(parts.run_dir).begin(parts.plan)
    found = stages.validation_alone(parts, stages.train(parts)).metrics.views
    assert {name: view.best_epoch for name, view in found.items()} == {"first": 1, "second": 3}
    assert found["second"].valid["hit@5"] == 1.0
    assert found["second"].test == {}


@pytest.mark.parametrize("lost", [(), ("best-second.pt",), ("best.pt", "best-second.pt")])
def test_a_resumed_run_mends_and_ends_as_the_whole(opened, lost):
    """Stopped after epoch 3, which is the second's best; epoch 1 cannot be had again."""

    class Tied(TwoViews):
        hits = {"first": (1, 1, 1, 0, 0, 0, 0), "second": (0, 0, 1, 0, 0, 0, 0)}

    whole = opened(Tied, epochs=3)
    RunFolder(whole.run_dir).begin(whole.plan)
    whole.trainer.fit(whole.train_data, whole.valid_data)
    for name in lost:
        (whole.run_dir / "checkpoint" / name).unlink()
    resumed = opened(Tied)
    assert resumed.trainer.resume(resumed.train_data, resumed.valid_data)
    assert resumed.trainer.start_epoch == 3
    trained = stages.train(resumed)
    assert len(trained.epochs) == 6
    assert [record.to_plain() for record in trained.epochs[:3]] == [
        record.to_plain() for record in whole.trainer.epochs
    ]
    assert [resumed.trainer.load_best(view) for view in resumed.trainer.views] == [3, 3]


class Fitted(TwoViews):
    """Fitted in one go: a closed form that is measured in two views."""

    def fit(self, data):
        self.begin_epoch(1, data)


def test_a_model_that_is_fitted_once_has_views_too(opened):
    parts = opened(Fitted)
    RunFolder(parts.run_dir).begin(parts.plan)
    trained = stages.train(parts)
    assert {name: best.best_epoch for name, best in trained.views.items()} == {
        "first": 1,
        "second": 1,
    }
    found = stages.test(parts).metrics.views
    assert found["first"].test_include["hit@5"] == 1.0 > found["second"].test_include["hit@5"]


class OneView(Arithmetic):
    """Has one view, which is then no other than the model as it is."""

    def views(self):
        return ()


def test_one_view_leaves_what_a_model_without_views_leaves(opened):
    left = []
    for model in (Arithmetic, OneView):
        parts = opened(model, model.__name__, epochs=1)
        folder = RunFolder(parts.run_dir)
        folder.begin(parts.plan)
        trained = stages.train(parts)
        folder.finish(trained, stages.test(parts), parts)
        line = json.loads((folder.path / "history.jsonl").read_text())
        metrics = json.loads(folder.metrics.read_text())
        files = {p.name for p in folder.path.rglob("*.*") if "tensorboard" not in p.parts}
        left.append((sorted(line), sorted(metrics), files))
    assert left[0] == left[1]
    assert "views" not in left[0][0] + left[0][1]
