"""The interactive mixture of experts, by hand."""

import math

import torch

from recbole_hm4sr.layers.interactive_moe import InteractiveMoE


def test_the_id_starts_unmixed_and_the_modalities_mixed():
    torch.manual_seed(0)
    moe = InteractiveMoE(streams=("id", "text"), hidden_size=3, n_experts=2)
    x = torch.randn(5, 2, 3)
    mixed = moe(x)
    assert torch.equal(mixed[:, 0], x[:, 0])
    assert not torch.allclose(mixed[:, 1], x[:, 1])


def test_each_stream_is_gated_by_its_own_vector():
    moe = InteractiveMoE(streams=("id", "text"), hidden_size=1, n_experts=2)
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.zero_()
        # Expert 0 answers 1 everywhere, expert 1 answers 5; a gate adds log 3 to expert 1 per unit.
        moe.experts.bias.copy_(torch.tensor([1.0, 1.0, 5.0, 5.0]))
        for gate in moe.gates.values():
            gate.weight.copy_(torch.tensor([[0.0], [math.log(3)]]))
        moe.modality_weights.fill_(1.0)
    mixed = moe(torch.tensor([[[0.0], [1.0]]]))
    # id: halves, 0 + (1 + 5) / 2; text: weights 1/4 and 3/4, 1 + 1/4 + 15/4.
    torch.testing.assert_close(mixed, torch.tensor([[[3.0], [5.0]]]))
