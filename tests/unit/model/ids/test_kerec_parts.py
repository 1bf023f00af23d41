"""KERec's own: differences of short histories, when there is noise, what stays causal."""

import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.model.ids.kerec import KERec, _earlier


def build(**overrides):
    config = model_config("KERec", hidden_size=8, **overrides)
    return KERec(config, ArrayDataset(9)).double().eval()


def batch_of(items, lengths):
    return PackedBatch(
        items=torch.tensor(items),
        times=torch.zeros(len(items), dtype=torch.int64),
        packing=build_packing(torch.tensor(lengths), 10),
    )


@pytest.mark.parametrize("make", [build_packing, PaddedRows])
def test_before_the_first_item_there_are_zeros(make):
    packing = make(torch.tensor([3, 1]), 3)
    x = torch.arange(1.0, len(packing.position) + 1)[:, None]
    found = _earlier(x, packing, 2, None)
    assert found[:3].flatten().tolist() == [0, 0, 1]
    assert found[3].item() == 0  # not a token of the sequence before it
    assert _earlier(x, packing, 1, packing.last).flatten().tolist() == [2, 0]


def test_one_item_moves_by_the_mean_length():
    # With one item the ratio of its difference to the mean is 1, and all noise is along it.
    model = build(noise_scale=1.0, noise_mix=1.0)
    x = torch.randn(1, 8).double()
    packing = build_packing(torch.tensor([1]), 10)
    move = model.with_noise(x, packing) - x
    assert move.norm().item() == pytest.approx(1, abs=1e-6)
    expected = model.encoder.layers[0].differences(x, packing)
    torch.testing.assert_close(move, expected / expected.norm(), rtol=1e-6, atol=1e-6)


def test_without_noise_positions_stay():
    model = build(noise_scale=0.0)
    x = torch.randn(4, 8).double()
    assert torch.equal(model.with_noise(x, build_packing(torch.tensor([4]), 10)), x)


def test_the_second_pass_is_for_training_alone(monkeypatch):
    model, batch = build(), batch_of([1, 2, 3], [2, 1])
    assert model(batch).noisy is None
    assert model.train()(batch).noisy is not None
    model = build(cl_weight=0).train()
    monkeypatch.setattr(model, "with_noise", pytest.fail)
    assert model(batch).noisy is None


def test_a_state_does_not_read_later_items():
    model = build(position_order="oldest")
    whole = batch_of([1, 2, 3, 4, 5], [5])
    states = model.user_states(
        model.input_states(whole, model.catalogue()), whole.replace(read_at=torch.arange(5))
    )
    part = batch_of([1, 2, 3], [3])
    last = model.user_states(model.input_states(part, model.catalogue()), part)
    torch.testing.assert_close(states[2], last[0], rtol=1e-12, atol=1e-12)


def test_a_temperature_near_zero_is_held_away_from_it():
    model, batch = build(), batch_of([1, 2, 3], [2, 1])
    model.temperature.data.fill_(-1.0)
    lengths = model(batch).users.vectors.norm(dim=-1).flatten()
    assert lengths.tolist() == pytest.approx([1e6, 1e6])
