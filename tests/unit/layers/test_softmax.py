"""Cross-entropy in pieces against the plain form, in value and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers import softmax
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.softmax import linear_cross_entropy


def plain(users, items, targets, excluded=None):
    scores = users @ items.T
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(scores, targets)


def value_and_gradients(function, users, items, *arguments, **options):
    users, items = users.clone().requires_grad_(), items.clone().requires_grad_()
    loss = function(users, items, *arguments, **options)
    (3 * loss).backward()  # a loss has a weight
    return loss.detach(), users.grad, items.grad


def draw(n_users=13, n_items=37, size=5, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    users = scale * torch.randn(n_users, size, generator=generator, dtype=dtype)
    items = torch.randn(n_items, size, generator=generator, dtype=dtype)
    return users, items, torch.randint(n_items, (n_users,), generator=generator)


@pytest.mark.parametrize("scores_at_a_time", [1, 100, 2**22])
@pytest.mark.parametrize("n_items", [1, 16, 37])
def test_equals_the_plain_form(n_items, scores_at_a_time, monkeypatch):
    monkeypatch.setitem(softmax.SCORES_AT_A_TIME, "cpu", scores_at_a_time)
    case = draw(n_items=n_items)
    results = value_and_gradients(linear_cross_entropy, *case), value_and_gradients(plain, *case)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("as_pairs", [False, True])
def test_excluded_items_are_no_candidates(as_pairs, monkeypatch):
    monkeypatch.setitem(softmax.SCORES_AT_A_TIME, "cpu", 100)
    users, items, targets = draw()
    excluded = torch.rand(13, 37, generator=torch.Generator().manual_seed(1)) < 0.5
    excluded[torch.arange(13), targets] = False
    case = users, items, targets
    hidden = pairs_of_rows(excluded.nonzero(), 13) if as_pairs else excluded
    for actual, expected in zip(
        value_and_gradients(linear_cross_entropy, *case, excluded=hidden),
        value_and_gradients(plain, *case, excluded),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_large_scores_stay_finite():
    # A target 1,000 below the best item has probability exp(-1000): 0 in float32, its loss 1,000.
    users = torch.tensor([[1000.0]])
    loss = linear_cross_entropy(users, torch.tensor([[1.0], [0.0]]), torch.tensor([1]))
    assert loss.item() == 1000


def test_low_precision_is_that_of_autocast():
    case = draw(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = [value_and_gradients(f, *case) for f in (linear_cross_entropy, plain)]
    exact = value_and_gradients(plain, *case)
    for fused, autocast, reference in zip(*low, exact, strict=True):
        assert fused.dtype == torch.float32
        error, allowed = (fused - reference).abs().max(), (autocast - reference).abs().max()
        assert 0 < error <= 1.5 * allowed


def test_errors_below_the_smallest_number_of_float16_keep_their_gradients():
    # A score of 0 beside one of 20: probability exp(-20), 2e-9, a tenth of float16's half of
    # 2^-24. The other item's gradient is that times the user; the loss has yet to be scaled.
    users, items = torch.tensor([[4.0]]), torch.tensor([[0.0], [5.0]], requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = linear_cross_entropy(users, items, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(2.0**16 * loss, items)
    expected = 4 * 2**16 * math.exp(-20) / (1 + math.exp(-20))
    assert gradient[0].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loss_of_low_precision_is_float32(dtype):
    # 65,536 times a loss of 2 would be infinite in float16.
    users, items, targets = (x.to(dtype) if x.is_floating_point() else x for x in draw())
    with torch.autocast("cpu", dtype=dtype):
        assert linear_cross_entropy(users, items, targets).dtype == torch.float32


def test_no_gradient_is_asked_of_a_constant():
    users, items, targets = draw()
    users.requires_grad_()
    linear_cross_entropy(users, items, targets).backward()
    assert users.grad is not None
    assert items.grad is None
