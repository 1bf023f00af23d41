"""The weight of the dense part is the best of those that a validation tries."""

import torch

from recbole_hm4sr.model.dense_weight import DenseWeight

TRIED = [0, 0.25, 0.5, 0.75, 1]


def choose(weights, scores, view=0):
    """Choose by a score for each weight; returns the weights that were tried."""
    tried = {}
    for choice in weights.choices(view):
        before = float(weights.values[view])
        with choice.entered():
            tried[choice.name] = float(weights.values[view])
        assert float(weights.values[view]) == before
    weights.choose(view, max(tried, key=lambda name: scores[tried[name]]))
    return list(tried.values())


def test_the_first_validation_tries_all_and_later_ones_the_neighbours():
    weights = DenseWeight(TRIED, 1)
    assert choose(weights, {0: 0.1, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1}) == TRIED
    assert weights.values.tolist() == [0.25]
    assert choose(weights, {0: 0.4, 0.25: 0.3, 0.5: 0.2}) == [0, 0.25, 0.5]
    assert weights.values.tolist() == [0]


def test_each_view_has_its_own():
    weights = DenseWeight(TRIED, 2)
    choose(weights, {**dict.fromkeys(TRIED, 0.5), 0.75: 0.6}, view=1)
    choose(weights, {0: 0.9, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1})
    assert weights.values.tolist() == [0, 0.75]


def test_one_weight_is_no_choice():
    weights = DenseWeight([1], 1)
    assert weights.choices(0) == ()
    assert weights.values.tolist() == [1]


def test_a_resumed_one_goes_on():
    weights = DenseWeight(TRIED, 1)
    choose(weights, {0: 0.1, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1})
    again = DenseWeight(TRIED, 1)
    again.load_state_dict(weights.state_dict())
    assert choose(again, {0: 0.4, 0.25: 0.3, 0.5: 0.2}) == [0, 0.25, 0.5]
    assert torch.equal(again.values, torch.tensor([0.0]))
