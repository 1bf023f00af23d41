"""Packed attention against padded rows and torch's own attention."""

import pytest
import torch
import torch.nn.functional as F
from helpers import fill_parameters

from recbole_hm4sr.layers import packing as packing_module
from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.packing import build_packing

LENGTHS = torch.tensor([3, 1, 17, 9, 4, 50, 2, 8])


def attention():
    layer = SelfAttention(hidden_size=8, n_heads=2, attn_dropout_prob=0.0).double()
    fill_parameters(layer)
    return layer


def plain(layer, tokens):
    """One sequence, no padding: torch's attention, a product a map. Shape ``[n, D]``."""
    query, key, value = (
        linear(tokens).unflatten(-1, (2, -1)).transpose(0, 1)
        for linear in (layer.query, layer.key, layer.value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return layer.output(mixed.transpose(0, 1).flatten(-2))


@pytest.mark.parametrize("padding_below_a_bucket", [0, 10**6])
@pytest.mark.parametrize("last_only", [False, True])
def test_equals_plain_attention(last_only, padding_below_a_bucket, monkeypatch):
    monkeypatch.setattr(packing_module, "_PADDING_BELOW_A_BUCKET", padding_below_a_bucket)
    packing, layer = build_packing(LENGTHS, 50), attention()
    n_tokens = int(LENGTHS.sum())
    x = torch.sin(torch.arange(n_tokens * 8, dtype=torch.float64)).view(n_tokens, 8)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    context = StepContext(packing)
    if last_only:
        newest = inputs[0].index_select(0, packing.last)
        actual = layer.at_last(newest, inputs[0], context)
    else:
        actual = layer(inputs[0], inputs[0], context)
    rows = [plain(layer, tokens) for tokens in inputs[1].split(LENGTHS.tolist())]
    expected = torch.stack([row[-1] for row in rows]) if last_only else torch.cat(rows)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)
    weight = torch.cos(torch.arange(actual.numel(), dtype=torch.float64)).view_as(actual)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    gradients = [
        torch.autograd.grad((out * weight).sum(), [given, *parameters])
        for out, given in ((actual, inputs[0]), (expected, inputs[1]))
    ]
    for name, one, other in zip(["x", *names], *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13, msg=lambda m, n=name: n + m)
