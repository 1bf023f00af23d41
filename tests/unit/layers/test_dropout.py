"""Dropout from cheap random bits: the distribution of torch's."""

import pytest
import torch

from recbole_hm4sr.layers.dropout import Dropout, keep_mask


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_entries_are_dropped_with_the_probability(prob):
    mask = keep_mask(torch.empty(1000, 1001), prob)
    share = (mask == 0).double().mean().item()
    # 1,001,000 draws: deviation sqrt(p (1 - p) / n); and the probability is a multiple of 2^-16.
    assert share == pytest.approx(prob, abs=5 * (prob * (1 - prob) / 1_001_000) ** 0.5 + 2**-17)
    kept = mask[mask != 0]
    assert kept.min() == kept.max()
    assert kept[0].item() == pytest.approx(1 / (1 - prob), rel=2**-16 / (1 - prob))


@pytest.mark.parametrize("prob", [0.999999, 1 - 1e-16])
def test_at_the_edge_what_is_kept_is_finite(prob):
    mask = keep_mask(torch.empty(1000, 1001), prob)
    # One level of 65,536 is kept: 15.3 of 1,001,000 are expected, deviation 3.9.
    assert set(mask.unique().tolist()) <= {0.0, 65536.0}
    assert (mask != 0).sum() < 40


def test_every_lane_of_a_random_number_is_fair_and_on_its_own():
    kept = (keep_mask(torch.empty(100_000, 4), 0.5) > 0).double()
    assert (kept.mean(dim=0) - 0.5).abs().max() < 5 * 0.5 / 100_000**0.5
    correlations = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlations.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 2), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_masks_have_any_shape_and_type(shape, dtype):
    mask = keep_mask(torch.empty(shape, dtype=dtype), 0.25)
    assert (mask.shape, mask.dtype) == (torch.Size(shape), dtype)


def test_the_seed_decides_the_mask():
    dropout, x = Dropout(0.5), torch.ones(64, 64)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_values_and_gradients_pass_where_kept():
    x = torch.full((50, 50), 3.0, requires_grad=True)
    out = Dropout(0.5)(x)
    out.sum().backward()
    assert set(out.unique().tolist()) == {0.0, 6.0}
    assert torch.equal(x.grad * 3, out.detach())


@pytest.mark.parametrize("dropout", [Dropout(0.5).eval(), Dropout(0.0)])
def test_nothing_is_dropped_in_evaluation_or_with_probability_0(dropout):
    x = torch.ones(3)
    assert dropout(x) is x
