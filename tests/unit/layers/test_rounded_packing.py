"""Packings whose shapes recur: the same outputs and gradients, and what the shapes are."""

import pytest
import torch
from helpers import assert_close, fill_parameters

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.packing import build_packing, with_rounded

LENGTHS = [[1], [1, 50, 9, 9, 17, 4, 33, 2], [2] * 300 + [40], [7] * 5]


def encoder_of(block, sink_length=None):
    encoder = build_encoder(
        block=block,
        n_layers=2,
        hidden_size=8,
        inner_size=16,
        n_heads=2,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        layer_norm_eps=1e-12,
        sink_length=sink_length,
    ).double()
    fill_parameters(encoder)
    return encoder


@pytest.mark.parametrize("lengths", LENGTHS)
def test_shapes_are_rounded(lengths):
    rounded = with_rounded(build_packing(torch.tensor(lengths), 50), 64).rounded
    n_tokens = -(-sum(lengths) // 64) * 64
    assert len(rounded.position) == len(rounded.sequence) == len(rounded.from_buckets) == n_tokens
    for rows, width in rounded.shapes:
        assert rows % 32 == 0
        assert width in (4, 8, 12, 16, 24, 32, 48, 64)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_every_real_token_and_sequence_is_found_again(lengths):
    packing = with_rounded(build_packing(torch.tensor(lengths), 50), 64)
    rounded, n_tokens = packing.rounded, sum(lengths)
    tokens, users = torch.randn(len(rounded.position), 3), torch.randn(len(lengths), 3)
    found = rounded.collect(rounded.spread(tokens))
    assert torch.equal(found[:n_tokens], tokens[:n_tokens])
    assert torch.equal(rounded.collect_sequences(rounded.spread_sequences(users)), users)
    assert torch.equal(rounded.last, packing.last)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("block", ["bert", "original", "ligr"])
def test_an_encoder_gives_the_same_and_learns_the_same(block, lengths):
    encoder = encoder_of(block)
    packing = with_rounded(build_packing(torch.tensor(lengths), 50), 64)
    x = torch.sin(torch.arange(8 * sum(lengths), dtype=torch.float64)).view(-1, 8)
    found = []
    for arrangement in (build_packing(torch.tensor(lengths), 50), packing):
        encoder.zero_grad()
        tokens, context = x.clone().requires_grad_(), StepContext(arrangement)
        every, last = encoder.at_every_position(tokens, context), encoder(tokens, context)
        (every.sin().sum() + last.cos().sum()).backward()
        gradients = [parameter.grad.clone() for parameter in encoder.parameters()]
        found.append([every, last, tokens.grad, *gradients])
    for actual, expected in zip(*found[::-1], strict=True):
        assert_close(actual, expected, 1e-12)


def test_a_sink_counts_the_padding_of_real_rows():
    encoder, lengths = encoder_of("original", sink_length=50), torch.tensor(LENGTHS[1])
    x = torch.sin(torch.arange(8 * int(lengths.sum()), dtype=torch.float64)).view(-1, 8)
    plain, rounded = (
        encoder(x, StepContext(packing))
        for packing in (build_packing(lengths, 50), with_rounded(build_packing(lengths, 50), 64))
    )
    assert_close(rounded, plain, 1e-12)


def test_what_stands_behind_the_tokens_is_in_the_products():
    """The guard of the tests above: the encoder does work on the rounded shapes."""
    encoder, seen = encoder_of("bert"), []
    encoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    packing = with_rounded(build_packing(torch.tensor([3, 5]), 50), 64)
    encoder.at_every_position(torch.zeros(8, 8, dtype=torch.float64), StepContext(packing))
    assert seen == [64]
