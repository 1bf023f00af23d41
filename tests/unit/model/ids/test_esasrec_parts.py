"""How eSASRec begins."""

import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.model.ids.esasrec import eSASRec


def test_matrices_are_xavier_normal_and_gates_have_biases():
    torch.manual_seed(5)
    model = eSASRec(model_config("eSASRec", hidden_size=64), ArrayDataset(2000))
    table, block = model.item_embedding.weight, model.encoder.layers[0]
    assert not table[0].any()
    assert table[1:].std().item() == pytest.approx((2 / 2064) ** 0.5, rel=0.02)
    # The maps of queries, keys and values are one matrix of 192 rows and 64 columns.
    assert block.attention.key.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert block.inner.weight.shape == (256, 64)
    assert block.inner.weight.std().item() == pytest.approx((2 / 320) ** 0.5, rel=0.05)
    assert not block.attention.key.bias.any()
    assert not block.attention.output.bias.any()
    assert 0 < block.gate.bias.abs().max() <= 1 / 8
    assert block.inner.bias is None


def test_closed_gates_leave_the_states_as_they_are():
    model = eSASRec(model_config("eSASRec", hidden_size=8), ArrayDataset(9)).double().eval()
    block = model.encoder.layers[0]
    for gate in (block.attention_gate, block.gate):
        gate.weight.data.zero_()
        gate.bias.data.fill_(-1e3)
    tower = model.user_tower()
    items = torch.tensor([[3, 1, 4], [5, 0, 0]])
    users = tower(items, torch.tensor([3, 1]), torch.zeros_like(items))
    newest = torch.tensor([4, 5])
    expected = model.item_embedding.weight[newest] + model.position_embedding.weight[0]
    assert torch.equal(users, expected)
