"""The whitening experts by hand: one product for all experts is theirs one by one."""

import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers.whitening_moe import WhiteningMoE

ROWS, IN, OUT, EXPERTS = 6, 5, 4, 3


def build(**options):
    settings = {"in_width": IN, "width": OUT, "n_experts": EXPERTS, "dropout_prob": 0.0}
    moe = WhiteningMoE(**{**settings, **options}).double()
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return moe


def test_experts_one_by_one():
    moe, x, drawn = build(), torch.randn(ROWS, IN).double(), torch.randn(ROWS, EXPERTS).double()
    for noise in (None, drawn):
        logits = x @ moe.gate
        if noise is not None:
            logits = logits + noise * (F.softplus(x @ moe.noise) + 0.01)
        gates, expected = logits.softmax(dim=1), torch.zeros(ROWS, OUT).double()
        for k in range(EXPERTS):
            expected += gates[:, k, None] * ((x - moe.shift[k]) @ moe.projection[k].T)
        torch.testing.assert_close(moe(x, noise), expected, rtol=1e-12, atol=1e-12)


def test_positions_have_shifts_of_their_own():
    moe, x = build(n_positions=2), torch.randn(ROWS, IN).double()
    positions = torch.tensor([0, 1, 1, 0, 1, 0])
    gates = moe.gates(x)
    found = moe.mix(x, gates) - moe.shifts(gates, positions)
    for row, position in enumerate(positions):
        own = sum(
            gates[row, k] * moe.projection[k] @ (x[row] - moe.shift[position, k])
            for k in range(EXPERTS)
        )
        torch.testing.assert_close(found[row], own, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("own_masks", [False, True])
def test_experts_drop_the_same_features_or_their_own(own_masks):
    moe = build(dropout_prob=0.5, own_masks=own_masks).train()
    with torch.no_grad():
        moe.projection.copy_(torch.eye(OUT, IN).expand(EXPERTS, -1, -1))
    # Expert k alone shows which features it kept.
    kept = []
    for k in range(EXPERTS):
        torch.manual_seed(4)
        gates = F.one_hot(torch.full((ROWS,), k), EXPERTS).double()
        kept.append(moe.mix(torch.ones(ROWS, IN).double(), gates) != 0)
    assert torch.equal(kept[0], kept[1]) != own_masks


def test_noise_is_drawn_in_training_alone():
    moe = build()
    assert moe.train().draw_noise(7).shape == (7, EXPERTS)
    assert moe.eval().draw_noise(7) is None
    assert build(gate_noise=False).train().draw_noise(7) is None


def test_gates_and_shifts_begin_at_zero():
    moe = WhiteningMoE(in_width=200, width=100, n_experts=4, dropout_prob=0.0, deviation=0.3)
    assert not any(part.any() for part in (moe.gate, moe.noise, moe.shift))
    # 80,000 values: the standard deviation of their own is 0.3 / sqrt(160,000) = 7.5e-4.
    assert moe.projection.std().item() == pytest.approx(0.3, abs=4e-3)
