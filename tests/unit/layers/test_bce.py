"""The generalised binary cross-entropy, by hand and against the paper's form."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers.bce import gbce_beta, generalized_bce
from recbole_hm4sr.layers.softmax import TargetShares


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("n_negatives", "n_candidates", "t", "beta"),
    [
        (5, 28, 0.75, 1 - 0.75 * (1 - 5 / 27)),  # of the recorded run
        (5, 28, 0, 1),
        (5, 28, 1, 5 / 27),
        (27, 28, 0.75, 1),  # all others are drawn
        (100, 28, 0.75, 1),  # more than there are
        (1, 1, 0.75, 1),  # a catalogue of one item
    ],
)
def test_beta(n_negatives, n_candidates, t, beta):
    assert gbce_beta(n_negatives, n_candidates, t=t) == pytest.approx(beta)


def test_one_negative_and_beta_one_is_half_the_binary_cross_entropy():
    own, scores = numbers(0.3, -2), numbers(1.5, 0.2)
    logits, labels = torch.stack([own, scores]), numbers(1, 0)[:, None].expand(2, 2)
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    assert generalized_bce(own, scores[:, None], beta=1).item() == pytest.approx(expected.item())


def test_it_is_the_power_of_the_positives_probability():
    own, scores, beta = numbers(0.3), numbers(1.5, -1)[None], 0.4
    likelihood = own.sigmoid() ** beta * (1 - scores.sigmoid()).prod()
    expected = -likelihood.log() / 3
    assert generalized_bce(own, scores, beta=beta).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("score", [-40.0, 40.0, -1e4, 1e4])
def test_large_scores_have_finite_losses_and_gradients(score):
    own, scores = torch.tensor([score], requires_grad=True), torch.tensor([[score]])
    loss = generalized_bce(own, scores, beta=0.5)
    loss.backward()
    # softplus(x) is x for large x and 0 for small ones: one of the two parts is |score|.
    assert loss.item() == pytest.approx((0.5 if score < 0 else 1) * abs(score) / 2)
    assert own.grad.item() == pytest.approx(-0.25 if score < 0 else 0)


def test_an_excluded_negative_adds_nothing_and_k_stays():
    own, scores = numbers(0.0, 0.0), numbers(0.0, 7.0).expand(2, 2)
    excluded = torch.tensor([[False, True], [False, True]])
    loss = generalized_bce(own, scores, beta=1, excluded=excluded)
    assert loss.item() == pytest.approx(2 * math.log(2) / 3)


def test_each_of_several_targets_is_a_positive_of_its_share():
    own, scores, beta = numbers(0.3, -2.0, 1.1), numbers(1.5, 0.2)[:, None], 0.4
    pairs, weights = torch.tensor([[0, 7], [0, 9], [1, 3]]), numbers(0.5, 0.5, 1.0)
    shares = TargetShares(pairs, weights, np.array([0, 2, 3]))
    loss = generalized_bce(own, scores, beta=beta, shares=shares)
    positive = -own.sigmoid().log() * weights
    expected = (beta * positive.sum() - (1 - scores.sigmoid()).log().sum()) / 2 / 2
    assert loss.item() == pytest.approx(expected.item())


def test_shares_of_a_batch_add_up_to_its_loss():
    random = torch.Generator().manual_seed(2)
    own, scores = torch.randn(8, generator=random), torch.randn(8, 3, generator=random)
    parts = [
        generalized_bce(own[p], scores[p], beta=0.3, divisor=4) for p in (slice(3), slice(3, 8))
    ]
    expected = generalized_bce(own, scores, beta=0.3)
    assert sum(parts).item() / 2 == pytest.approx(expected.item())


def test_low_precision_scores_have_a_loss_in_float32():
    own, scores = torch.tensor([0.5], dtype=torch.bfloat16), torch.tensor([[0.25]]).bfloat16()
    loss = generalized_bce(own, scores, beta=1)
    assert loss.dtype == torch.float32
    expected = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.25))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
