"""Metrics of a model against those of RecBole's own trainer, collector and evaluator."""

import numpy as np
import pytest
import torch
from recbole.trainer import trainer as recbole_trainer

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
