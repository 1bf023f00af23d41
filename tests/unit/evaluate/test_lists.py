"""Lists beyond accuracy: what is shown, against plain loops over the scores."""

import itertools
import math

import numpy as np
import pytest
import torch

from recbole_hm4sr.evaluate.lists import feature_directions, list_metrics, measure_lists, top_lists
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR


@pytest.fixture(scope="module", params=["HM4SR", "SASRec"])
def parts(request, toy_path, tmp_path_factory):
    settings = QUICK_HM4SR if request.param == "HM4SR" else {**QUICK, "modalities": {}}
    overrides = {**settings, "data_path": str(toy_path)}
    return build_parts(
        compose(request.param, "toy", overrides=overrides), tmp_path_factory.mktemp("run")
    )


def by_hand(parts, *, removes_seen, k):
    """The k best of each test user: scores sorted one by one."""
    dataset, lists, number = parts.test_data._dataset, [], 0
    log, targets = dataset.log, dataset.inter_feat.targets.tolist()
    parts.model.eval()
    for batch in parts.test_data:
        with torch.no_grad():
            scores = parts.model.full_sort_predict(batch[0]).view(len(batch[0]), -1)
        for row in scores.tolist():
            target = targets[number]
            seen = set(log.items[log.starts[target] : target].tolist()) if removes_seen else set()
            ranked = sorted(range(1, len(row)), key=lambda item: -row[item])
            lists.append([item for item in ranked if item not in seen][:k])
            number += 1
    return lists


@pytest.mark.parametrize("removes_seen", [True, False])
def test_lists_and_their_metrics_are_those_of_plain_loops(parts, removes_seen):
    train, k = parts.train_data._dataset, 4
    lists = by_hand(parts, removes_seen=removes_seen, k=k)
    found = top_lists(parts.model, parts.config, parts.test_data, k, removes_seen=removes_seen)
    assert found.tolist() == lists
    metrics = measure_lists(
        parts.model, parts.config, train, parts.test_data, (2, k), removes_seen=removes_seen
    )
    n_items, counts = train.item_num - 1, train.interaction_counts().tolist()
    names = ["coverage", "gini", "novelty", *["diversity"] * bool(train.modality_names)]
    assert list(metrics) == [f"{name}@{cut}" for cut in (2, k) for name in names]
    shown = [item for row in lists for item in row[:2]]
    assert metrics["coverage@2"] == len(set(shown)) / n_items
    times = sorted(shown.count(item) for item in range(1, n_items + 1))
    gini = sum((2 * i - n_items - 1) * c for i, c in enumerate(times, start=1))
    assert metrics["gini@2"] == pytest.approx(gini / (n_items * len(shown)))
    surprise = [math.log2((sum(counts) + n_items) / (counts[item] + 1)) for item in shown]
    assert metrics["novelty@2"] == pytest.approx(np.mean(surprise))
    if not train.modality_names:
        return
    apart = []
    for a, b in itertools.chain.from_iterable(itertools.combinations(row, 2) for row in lists):
        cosines = []
        for name in train.modality_names:
            x, y = train.modality(name).values[[a, b]].astype(np.float64)
            cosines.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        apart.append(1 - np.mean(cosines))
    assert metrics["diversity@4"] == pytest.approx(np.mean(apart), rel=1e-4)


def test_a_list_that_ends_early_counts_what_it_has(parts):
    lists = np.array([[1, 2], [3, 0]])
    counts = np.array([0, 3, 1, 0])
    found = list_metrics(lists, [2], counts=counts, directions=np.eye(4), config=parts.config)
    assert found == {
        "coverage@2": 1.0, "gini@2": 0.0, "diversity@2": 1.0,
        "novelty@2": pytest.approx(np.mean([np.log2(7 / 4), np.log2(7 / 2), np.log2(7)])),
    }  # fmt: skip


def test_directions_of_no_modality_are_none(parts):
    found = feature_directions(parts.train_data._dataset)
    assert (found is None) == (not parts.train_data._dataset.modality_names)
