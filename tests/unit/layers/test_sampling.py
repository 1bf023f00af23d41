"""The sampled softmax: what is drawn, and that its correction makes it the full one."""

import math

import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.softmax import sampled_cross_entropy


def test_items_are_drawn_by_their_counts_and_never_padding():
    sampler = NegativeSampler(torch.tensor([100, 0, 2, 4]))
    torch.manual_seed(0)
    drawn = torch.bincount(sampler(100_000), minlength=4)
    # Weights 1, 3, 5 of 9; a count of n draws of probability p deviates by sqrt(n p (1 - p)).
    assert drawn[0] == 0
    for item, weight in ((1, 1), (2, 3), (3, 5)):
        share = weight / 9
        allowed = 5 * (100_000 * share * (1 - share)) ** 0.5
        assert drawn[item].item() == pytest.approx(100_000 * share, abs=allowed)
        assert sampler.log_probability[item].item() == pytest.approx(math.log(share))


def sample_loss(users, items, targets, drawn, log_expected):
    excluded = targets[:, None] == drawn
    own, scores = (users * items[targets]).sum(dim=1), users @ items[drawn].T
    return sampled_cross_entropy(own, scores, log_expected=log_expected, excluded=excluded)


def test_by_hand():
    # One user, scores 1 (target) and 2; the other item is drawn once and expected half a time.
    users, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    half = torch.tensor([math.log(0.5)])
    loss = sample_loss(users, items, torch.tensor([1]), torch.tensor([2]), half)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(2 - 1)))


def test_the_target_is_no_negative_of_itself():
    users, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    loss = sample_loss(users, items, torch.tensor([1]), torch.tensor([1, 1]), torch.zeros(2))
    assert loss.item() == 0


def test_a_large_sample_gives_the_full_softmax_and_its_gradient():
    generator = torch.Generator().manual_seed(1)
    users = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    items = torch.randn(30, 4, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(1, 30, (6,), generator=generator)
    sampler = NegativeSampler(torch.arange(30) ** 2)
    torch.manual_seed(2)
    drawn = sampler(400_000)
    loss = sample_loss(users, items, targets, drawn, sampler.log_expected(drawn))
    (sampled,) = torch.autograd.grad(loss, items)
    full = F.cross_entropy((users @ items.T)[:, 1:], targets - 1)
    (exact,) = torch.autograd.grad(full, items)
    # The target's own part is exact, 400,000 draws estimate the rest to about half a percent.
    assert loss.item() == pytest.approx(full.item(), abs=0.01)
    torch.testing.assert_close(sampled, exact, rtol=0.03, atol=0.003)
