"""Losses of targets and drawn items, by hand."""

import math

import numpy as np
import pytest
import torch

from recbole_hm4sr.layers.bce import mean_bce
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.drawn_losses import drawn_loss
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.softmax import TargetShares, sampled_cross_entropy

TARGETS = torch.tensor([4, 2])
DRAWN = torch.tensor([[2, 4, 5], [5, 2, 7]])
SEEN = {0: {2}, 1: {5}}


def softplus(score):
    return math.log1p(math.exp(score))


def bce(own, scores):
    return softplus(-own) + sum(map(softplus, scores)) / 3


def sampled(own, scores):
    return math.log(math.exp(own) + sum(map(math.exp, scores))) - own


def gbce(own, scores):
    return (0.4 * softplus(-own) + sum(map(softplus, scores))) / 4


@pytest.mark.parametrize("excludes", [False, True])
@pytest.mark.parametrize("expected_of", [bce, sampled, gbce])
def test_a_target_counts_among_its_negatives_but_no_seen_item(expected_of, excludes):
    random = torch.Generator().manual_seed(4)
    catalogue = Catalogue(torch.randn(9, 1, 8, generator=random, dtype=torch.float64))
    users = UserRows(torch.randn(2, 1, 8, generator=random, dtype=torch.float64))
    pairs = torch.tensor([(row, item) for row, items in SEEN.items() for item in items])
    rows = loss_rows(TARGETS, pairs_of_rows(pairs, 2) if excludes else None)
    loss = drawn_loss(expected_of.__name__, catalogue, users, rows, DRAWN, beta=0.4)
    scores = catalogue.scores(users).tolist()
    expected = 0
    for row, own in enumerate(DRAWN.tolist()):
        counted = [scores[row][item] for item in own if not (excludes and item in SEEN[row])]
        expected += expected_of(scores[row][TARGETS[row]], counted) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_one_negative_is_the_sum_of_both_cross_entropies():
    loss = mean_bce(torch.tensor([0.25, -2.0]), torch.tensor([[1.5], [0.5]]))
    expected = (softplus(-0.25) + softplus(2) + softplus(1.5) + softplus(0.5)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_several_targets_share_the_label_of_a_sampled_softmax():
    catalogue = Catalogue(torch.tensor([0.0, 0.5, -1, 2, 0.25])[:, None, None].double())
    users = UserRows(torch.tensor([[[2.0]]]).double())
    pairs, weights = torch.tensor([[0, 1], [0, 3]]), torch.tensor([0.5, 0.5]).double()
    shares = TargetShares(pairs, weights, np.array([0, 2]))
    rows = loss_rows(torch.tensor([1]), None, shares)
    loss = drawn_loss("sampled", catalogue, users, rows, torch.tensor([[2, 4]]), beta=1)
    total = sum(map(math.exp, (1, 4, -2, 0.5)))
    assert loss.item() == pytest.approx(math.log(total) - (1 + 4) / 2, rel=1e-12)


def test_a_sample_without_correction_is_a_plain_cross_entropy():
    own, scores = torch.tensor([0.5]), torch.tensor([[1.0, -1.0]])
    loss = sampled_cross_entropy(own, scores)
    logits = torch.cat([own[:, None], scores], dim=1)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(expected.item())
