"""Building, training and testing the parts of a run; what is written, and by whom."""

import json

import numpy as np
import pytest
import yaml

from recbole_hm4sr.run import parts as stages
from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import N_ITEMS, N_USERS, QUICK
from recbole_hm4sr.train.costs import Costs


@pytest.fixture
def plan(toy_path):
    return compose("SASRec", "toy", overrides={**QUICK, "data_path": str(toy_path)})


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_building_the_parts_writes_nothing(plan, tmp_path):
    build_parts(plan, tmp_path / "run").trainer.close()
    assert list(tmp_path.iterdir()) == []


def test_each_stage_writes_its_own_files(plan, tmp_path):
    """Training its checkpoints and curves, testing nothing, the folder's end the results."""
    folder = RunFolder(tmp_path / "run")
    parts = build_parts(plan, folder.path)
    folder.begin(plan)
    begun = files(folder.path)
    assert begun == ["config.yaml"]

    trained = stages.train(parts)
    parts.trainer.close()
    left = [name for name in files(folder.path) if not name.startswith("tensorboard")]
    checkpoints = [f"checkpoint/{name}.pt" for name in ("best", "last", "previous")]
    assert left == [*checkpoints, "config.yaml", "history.jsonl"]
    assert [record.epoch for record in trained.epochs] == [1, 2]
    best = trained.epochs[trained.best_epoch - 1]
    assert best.is_best
    assert trained.best_valid == best.valid
    assert trained.best_valid_score == best.valid["ndcg@10"]
    assert trained.costs == Costs()  # without a meter

    before = files(folder.path)
    evaluation = stages.test(parts)
    assert files(folder.path) == before
    assert evaluation.metrics.valid == trained.best_valid
    assert len(evaluation.ranks["test_ranks.npz"].include) == len(parts.test_data._dataset)

    folder.finish(trained, evaluation, parts)
    new = ["metrics.json", "serving.npz", "test_ranks.npz", "vocabulary.npz"]
    assert sorted(set(files(folder.path)) - set(before)) == new
    metrics = json.loads(folder.metrics.read_text())
    assert metrics["test"] == evaluation.metrics.test
    assert metrics["n_items"] == N_ITEMS
    assert metrics["epochs"] == 2
    ((name, expected),) = evaluation.ranks.items()
    with np.load(folder.path / name) as ranks:
        assert ranks["rank_exclude"].tolist() == expected.exclude.tolist()
        assert len(set(ranks["user"])) == N_USERS
    assert yaml.safe_load(folder.settings.read_text())["model"] == "SASRec"


def test_without_a_test_nothing_is_ranked_of_the_test_part(plan, tmp_path):
    parts = build_parts(plan, tmp_path)
    trained = stages.train(parts)
    evaluation = stages.validation_alone(parts, trained)
    assert evaluation.metrics.valid == trained.best_valid
    assert evaluation.metrics.test == evaluation.metrics.test_exclude == {}
    assert evaluation.ranks == {}
