"""The weight of the dense part is the best of those that a validation tries."""

import pytest
import torch

from recbole_hm4sr.model.dense_weight import DenseWeight

TRIED = [0, 0.25, 0.5, 0.75, 1]


def choose(weights, scores, view=0):
    """Choose by a score for each weight; returns the weights that were tried."""
    tried = []

    def measure():
        tried.append(float(weights.values[view]))
        return scores[tried[-1]]

    weights.choose(view, measure)
    return tried


def test_the_first_validation_tries_all_and_later_ones_the_neighbours():
    weights = DenseWeight(TRIED, 1, bigger=True)
    assert choose(weights, {0: 0.1, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1}) == TRIED
    assert weights.values.tolist() == [0.25]
    assert choose(weights, {0: 0.4, 0.25: 0.3, 0.5: 0.2}) == [0, 0.25, 0.5]
    assert weights.values.tolist() == [0]


def test_each_view_has_its_own_and_of_equal_scores_the_larger_is_chosen():
    weights = DenseWeight(TRIED, 2, bigger=True)
    choose(weights, dict.fromkeys(TRIED, 0.5), view=1)
    choose(weights, {0: 0.9, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1})
    assert weights.values.tolist() == [0, 1]


def test_a_smaller_score_may_be_better():
    weights = DenseWeight(TRIED, 1, bigger=False)
    choose(weights, {0: 4, 0.25: 3, 0.5: 1, 0.75: 2, 1: 3})
    assert weights.values.tolist() == [0.5]


def test_one_weight_is_not_measured():
    weights = DenseWeight([1], 1, bigger=True)
    weights.choose(0, lambda: pytest.fail("measured"))
    assert weights.values.tolist() == [1]


def test_a_resumed_one_goes_on():
    weights = DenseWeight(TRIED, 1, bigger=True)
    choose(weights, {0: 0.1, 0.25: 0.3, 0.5: 0.2, 0.75: 0.1, 1: 0.1})
    again = DenseWeight(TRIED, 1, bigger=True)
    again.load_state_dict(weights.state_dict())
    assert choose(again, {0: 0.4, 0.25: 0.3, 0.5: 0.2}) == [0, 0.25, 0.5]
    assert torch.equal(again.values, torch.tensor([0.0]))
