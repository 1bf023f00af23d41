"""Metrics of a model against those of RecBole's own trainer, collector and evaluator."""

import contextlib
from functools import partial

import numpy as np
import pytest
import torch
from recbole.trainer import trainer as recbole_trainer

from recbole_hm4sr.evaluate import evaluator
from recbole_hm4sr.model.capabilities import View
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import N_ITEMS, QUICK

EVAL_ARGS = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
METRICS = ["NDCG", "MRR", "Hit", "Recall", "Precision", "MAP"]


@pytest.fixture
def open_parts(toy_path, tmp_path):
    def open_with(model, **settings):
        overrides = {**QUICK, "data_path": str(toy_path), "metric_decimal_place": 12, **settings}
        return build_parts(compose(model, "toy", overrides=overrides), tmp_path)

    return open_with


@pytest.fixture
def measured_by_recbole(tmp_path, monkeypatch):
    """Metrics of a split by RecBole's trainer, of the same model."""

    def measure(parts, loader):
        # Its constructor makes two folders where it stands.
        monkeypatch.setattr(recbole_trainer, "get_tensorboard", lambda logger: None)
        parts.config["checkpoint_dir"] = str(tmp_path / "saved")
        trainer = recbole_trainer.Trainer(parts.config, parts.model)
        trainer.eval_collector = parts.trainer.evaluator._collector  # RecBole's, mended
        return dict(trainer.evaluate(loader, load_best_model=False))

    return measure


@pytest.mark.parametrize("model", ["SASRec", "HM4SR"])
@pytest.mark.parametrize("part", ["valid_data", "test_data"])
def test_metrics_equal_those_of_recbole_to_the_last_digit(
    open_parts, measured_by_recbole, model, part
):
    parts = open_parts(model, metrics=METRICS)
    loader = getattr(parts, part)
    assert parts.trainer.evaluator.metrics_follow_from_ranks(loader)
    assert parts.trainer.evaluator.measure(loader) == measured_by_recbole(parts, loader)


def test_metrics_beyond_ranks_equal_those_of_recbole(open_parts, measured_by_recbole):
    parts = open_parts("SASRec", metrics=["NDCG", "ItemCoverage", "GiniIndex"])
    loader = parts.test_data
    assert not parts.trainer.evaluator.metrics_follow_from_ranks(loader)
    metrics = parts.trainer.evaluator.measure(loader)
    assert metrics == measured_by_recbole(parts, loader)
    assert 0 < metrics["itemcoverage@10"] <= 1


@pytest.mark.parametrize("metric", ["NDCG@10", "GAUC", "AUC"])
def test_metrics_of_drawn_negatives_equal_those_of_recbole(open_parts, measured_by_recbole, metric):
    """Metrics of a list, of mean ranks, and of single scores."""
    arguments = {**EVAL_ARGS, "mode": {"valid": "uni9", "test": "uni9"}}
    parts = open_parts(
        "GRU4Rec", metrics=[metric.split("@")[0]], valid_metric=metric, eval_args=arguments
    )
    loader, found = parts.test_data, []
    assert not parts.trainer.evaluator.metrics_follow_from_ranks(loader)
    for measure in (parts.trainer.evaluator.measure, lambda it: measured_by_recbole(parts, it)):
        np.random.seed(1)  # noqa: NPY002  # RecBole's sampler draws from it
        found.append(measure(loader))
    assert found[0] == found[1]


def test_a_model_that_scores_pairs_alone_ranks_all_items(open_parts, measured_by_recbole):
    """DIN has no scores of a whole catalogue: each user is paired with each item."""
    parts = open_parts("DIN", metrics=METRICS)
    loader, rows = parts.test_data, range(3)
    assert "full_sort_predict" not in vars(type(parts.model))
    interaction, scores = parts.trainer.evaluator.score(loader, rows)
    assert scores.shape == (3, N_ITEMS + 1)
    pair = interaction[torch.tensor([1])]
    pair.update(loader._dataset.get_item_feature()[torch.tensor([7])])
    torch.testing.assert_close(scores[1, 7], parts.model.predict(pair).squeeze())
    assert parts.trainer.evaluator.measure(loader) == measured_by_recbole(parts, loader)


class Chooser:
    """Adds to a model two views and three choices, all of which change its scores."""

    def __init__(self, model):
        self.model, self.view, self.scale = model, 0.0, 1.0
        self.encoded = []
        ask, encode = model.ask, model.encode

        def asked(interaction):
            users, catalogue = ask(interaction)
            vectors = self.scale * users.vectors + self.view
            return users._replace(vectors=vectors), catalogue

        def encoding(batch, catalogue):
            self.encoded.append(len(batch.packing.lengths))
            return encode(batch, catalogue)

        model.ask, model.encode = asked, encoding
        model.choices = lambda: [
            View(f"{scale:g}", partial(self.setting, "scale", scale)) for scale in (-1.0, 1.0, 2.0)
        ]
        model.choose = lambda name: setattr(self, "scale", float(name))

    @contextlib.contextmanager
    def setting(self, name, value):
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, before)

    def views(self):
        return [View(name, partial(self.setting, "view", at)) for name, at in (("a", 0), ("b", 5))]


@pytest.mark.parametrize("n_some", [4096, 10])
def test_each_view_is_measured_at_its_best_choice(open_parts, monkeypatch, n_some):
    """Equal to measuring every view with every choice by itself; each batch is encoded once."""
    monkeypatch.setattr(evaluator, "_SOME_SAMPLES", n_some)
    parts = open_parts("SASRecPlus", metrics=METRICS)
    loader, measure = parts.valid_data, parts.trainer.evaluator.measure
    chooser = Chooser(parts.model)
    views = chooser.views()
    expected = {}
    for view in views:
        with view.entered():
            for scale in (-1.0, 1.0, 2.0):
                with chooser.setting("scale", scale):
                    expected[view.name, scale] = measure(loader)
    chooser.encoded.clear()
    size, chosen = len(loader._dataset.inter_feat), []
    monkeypatch.setattr(
        parts.model,
        "choose",
        lambda name: chosen.append(float(name)) or chooser.__dict__.update(scale=float(name)),
    )
    found = parts.trainer.evaluator.validate(loader, views)
    assert sum(chooser.encoded) == (size if n_some > size else 10 + size)
    # The views share one choice here: what is measured last is at the last one chosen.
    if n_some > size:
        metric = parts.config["valid_metric"].lower()
        for view, scale in zip(views, chosen, strict=True):
            assert found[view.name] == expected[view.name, scale]
            values = [expected[view.name, other][metric] for other in (-1.0, 1.0, 2.0)]
            assert found[view.name][metric] == max(values)
            assert scale == max(
                s for s in (-1.0, 1.0, 2.0) if expected[view.name, s][metric] == max(values)
            )
    else:
        for view in views:
            assert found[view.name] == expected[view.name, chosen[-1]]
