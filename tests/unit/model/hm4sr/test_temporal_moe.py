"""The temporal mixture of experts, by hand."""

import math

import torch

from recbole_hm4sr.model.hm4sr.temporal_moe import TemporalMoE


def test_time_scales_every_channel():
    moe = TemporalMoE(n_streams=2, hidden_size=2, time_size=1, n_experts=2)
    with torch.no_grad():
        moe.gate.weight.copy_(torch.tensor([[0.0], [math.log(3)]]))
        moe.gate.bias.zero_()
        moe.experts.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
    x = torch.ones(1, 2, 2)
    # Time 1: weights 1/4 and 3/4.
    expected = torch.tensor([[[4.0, 5.0], [6.0, 7.0]]])
    torch.testing.assert_close(moe(x, torch.tensor([[1.0]])), expected)
