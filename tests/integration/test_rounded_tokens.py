"""A training step in shapes that recur has the losses and gradients of the plain one."""

import pytest
import torch
from helpers import assert_close

from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = pytest.mark.integration
QUIET = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "use_gpu": False}


def step_of(model, toy_path, run_dir, **settings):
    """Losses and gradients of the first batch in float64, and the tokens that a block reads."""
    overrides = {**QUICK_HM4SR, **QUIET, "data_path": str(toy_path), **settings}
    if model == "SASRecPlus":
        overrides = {k: v for k, v in overrides.items() if not k.endswith("_experts")}
    parts = build_parts(compose(model, "toy", overrides=overrides), run_dir)
    batch = next(iter(parts.train_data))
    network, seen = parts.model.double().train(), []
    encoder = network.encoders["id"] if model == "HM4SR" else network.encoder
    token_wise = encoder.layers[0].feed_forward
    token_wise.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    torch.manual_seed(3)  # of the placeholders
    losses = network.named_losses(batch)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return losses, gradients, seen


@pytest.mark.parametrize("mode", ["sequence", "prefix"])
@pytest.mark.parametrize("model", ["HM4SR", "SASRecPlus"])
def test_losses_and_gradients_are_those_of_the_plain_shapes(model, mode, toy_path, tmp_path):
    plain, rounded = (
        step_of(model, toy_path, tmp_path / str(multiple), train_mode=mode, round_tokens=multiple)
        for multiple in (0, 128)
    )
    assert all(count % 128 == 0 for count in rounded[2])
    assert [-(-count // 128) * 128 for count in plain[2]] == rounded[2] != plain[2]
    assert plain[0].keys() == rounded[0].keys()
    for name, loss in plain[0].items():
        assert_close(rounded[0][name], loss, 1e-12)
    assert plain[1].keys() == rounded[1].keys()
    for name, gradient in plain[1].items():
        assert_close(rounded[1][name], gradient, 1e-12)
