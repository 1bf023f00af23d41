"""The parts of the graph layer, each against its equation."""

import torch
from helpers import fill_parameters

from recbole_hm4sr.model.mmsr.dual_attention import UpdateGate, masked_softmax, relation_scores


def test_masked_softmax_ignores_what_is_masked():
    scores = torch.tensor([[0.0, 9.0, 0.0]])
    mask = torch.tensor([[True, False, True]])
    assert masked_softmax(scores, mask).tolist() == [[0.5, 0, 0.5]]


def test_masked_softmax_stays_finite_in_half_precision_and_without_neighbours():
    scores = torch.tensor([[5.0, 1.0]], dtype=torch.float16)
    weights = masked_softmax(scores, torch.zeros(1, 2, dtype=torch.bool))
    assert weights.tolist() == [[0.5, 0.5]]


def test_relation_scores_equal_the_equation_pair_by_pair():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    vectors = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    relations = torch.randint(1, 5, (2, 5, 5), generator=generator)
    scores = relation_scores(states, relations, vectors)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(5)).tolist():
        vector = vectors[relations[b, i, j] - 1]
        expected = (vector * states[b, i] * states[b, j]).sum()
        torch.testing.assert_close(scores[b, i, j], expected)


def test_update_gate_is_the_softmax_of_two_scores():
    gate = UpdateGate(hidden_size=4).double()
    fill_parameters(gate)
    first, second = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    hidden = gate.hidden
    candidates = torch.stack([first, second])
    scores = (candidates @ hidden.weight.mT + hidden.bias).relu() @ gate.score.weight.mT
    expected = (scores.softmax(dim=0) * candidates).sum(dim=0)
    torch.testing.assert_close(gate(first, second), expected)
