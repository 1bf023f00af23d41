"""float32 and bfloat16 agree with float64, on one batch, within what their digits allow.

The largest relative error of one rounding, u, is 2**-24 (6e-8) in float32 and 2**-8 (4e-3) in
bfloat16. A value passes some ten products in a row. In float32 each sums up to 24 terms (3 streams
of 8) whose roundings are independent, so 10 * sqrt(24) = 49 u: 3e-6. Under autocast a product sums
in float32 and rounds its operands and result to bfloat16, while norms, softmax and losses stay in
float32: 10 u, 0.04. Errors are relative to the largest entry, or to 1 where that is less. Measured
when this was written: float32 at most 6e-7, bfloat16 at most 6e-3 in losses and scores and 2e-2 in
gradients.
"""

import copy

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, fill_parameters, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.model.hm4sr.model import HM4SR

pytestmark = pytest.mark.parity
N_ITEMS, LENGTH = 21, 10
FLOAT32 = 49 * 2**-24
BFLOAT16 = 10 * 2**-8
DAY = 86400


def build(train_mode):
    random = np.random.default_rng(3)
    features = {
        name: random.normal(size=(N_ITEMS, 6)).astype(np.float32) for name in ("text", "image")
    }
    flags = (random.random((N_ITEMS, 4)) < 0.5).astype(np.uint8)
    config = model_config(
        hidden_size=8,
        inner_size=16,
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        train_mode=train_mode,
        time_origin="dataset",
        time_scale=DAY,
    )
    model = HM4SR(config, ArrayDataset(N_ITEMS, features, flags, origin=1_600_000_000))
    fill_parameters(model)
    return model


def batch():
    random = np.random.default_rng(4)
    lengths = torch.tensor([1, 3, 10, 7, 5, 2])
    steps = torch.arange(LENGTH) < lengths[:, None]
    items = torch.from_numpy(random.integers(1, N_ITEMS, (6, LENGTH))) * steps
    gaps = torch.from_numpy(random.integers(0, 90 * DAY, (6, LENGTH)))
    times = (1_600_000_000 + gaps.cumsum(1)) * steps
    following = torch.from_numpy(random.integers(1, N_ITEMS, (6, LENGTH))) * steps
    return Interaction(
        {
            "item_id_list": items,
            "timestamp_list": times,
            "item_length": lengths,
            "item_id": torch.arange(1, 7),
            "target_list": following,
        }
    )


def outcome(model, bfloat16=False):
    """Named losses, scores, and gradients of one batch."""
    torch.manual_seed(0)  # for the placeholders
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        losses = model.named_losses(batch())
        scores = model.full_sort_predict(batch())
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    return losses, scores, gradients


@pytest.mark.parametrize("train_mode", ["prefix", "sequence"])
@pytest.mark.parametrize(("precision", "bound"), [("float32", FLOAT32), ("bfloat16", BFLOAT16)])
def test_losses_scores_and_gradients_agree_with_float64(train_mode, precision, bound):
    model = build(train_mode)
    exact = copy.deepcopy(model).double()
    expected = outcome(exact)
    found = outcome(model, bfloat16=precision == "bfloat16")
    assert set(found[0]) == set(expected[0])
    for name in expected[0]:
        assert_close(found[0][name].double(), expected[0][name], bound)
    assert_close(found[1].double(), expected[1], bound)
    for name, gradient in expected[2].items():
        assert (found[2][name] is None) == (gradient is None)
        if gradient is not None:
            assert_close(found[2][name].double(), gradient, bound)


def test_bfloat16_changes_the_scores_so_the_comparison_sees_it():
    model = build("prefix")
    plain, low = outcome(model)[1], outcome(model, bfloat16=True)[1]
    assert not torch.equal(plain, low.float())
