"""TedRec's own: the causal convolutions by hand, and what the window's length decides."""

import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config

from recbole_hm4sr.model.text.tedrec import TedRec

N_ITEMS, SIZE = 12, 4


def build(length, *, causal):
    config = model_config(
        "TedRec",
        MAX_ITEM_LIST_LENGTH=length,
        hidden_size=SIZE,
        inner_size=8,
        n_experts=2,
        causal_filter=causal,
    )
    features = torch.randn(N_ITEMS, 3).numpy()
    model = TedRec(config, ArrayDataset(N_ITEMS, {"text": features})).double().eval()
    fill_parameters(model)
    return model


@pytest.mark.parametrize("length", [5, 6])
@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_the_convolutions_are_sums_over_the_window(length, causal):
    model = build(length, causal=causal)
    ids, text = torch.randn(2, 3, length, SIZE).double()
    complex_filter = torch.complex(model.filter_real, model.filter_imaginary)
    kernel = torch.fft.irfft(complex_filter, n=length, dim=0)  # [L, D]
    filtered, mutual = torch.zeros(2, 3, length, SIZE).double()
    for to in range(length):
        for source in range(length):
            if causal and source > to:
                continue
            step = (to - source) % length
            filtered[:, to] += kernel[step] * ids[:, source]
            mutual[:, to] += ids[:, source] * text[:, step] / length**0.5
    expected = 2 * filtered * model.item_gate(filtered).sigmoid()
    expected += 2 * mutual * model.fusion_gate(mutual).sigmoid()
    torch.testing.assert_close(model.mix(ids, text), expected, rtol=1e-10, atol=1e-10)


def test_the_gates_biases_keep_torchs_start():
    torch.manual_seed(2)
    model = TedRec(
        model_config("TedRec", hidden_size=64, n_experts=2),
        ArrayDataset(N_ITEMS, {"text": torch.randn(N_ITEMS, 3).numpy()}),
    )
    for gate in (model.item_gate, model.fusion_gate):
        assert 0 < abs(gate.bias.item()) <= 1 / 8  # U(-1 / sqrt(64), 1 / sqrt(64))
        assert gate.weight.std().item() < 0.03  # N(0, 0.02)
    assert model.filter_real.std().item() == pytest.approx(0.02, abs=0.004)
