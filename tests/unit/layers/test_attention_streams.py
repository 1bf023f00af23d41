"""Further streams and cross-attention, against loops over single sequences."""

import math

import pytest
import torch
from helpers import fill_parameters

from recbole_hm4sr.layers.attention import CrossAttention, SelfAttention, StepContext
from recbole_hm4sr.layers.cross_rows import CrossRows, cross_buckets
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.pairs import interval_pairs

LENGTHS = torch.tensor([3, 1, 17, 9, 4, 20, 2])
SOURCES = torch.tensor([2, 5, 1, 6, 3, 4, 9])
LENGTH, N_SOURCES, SIZE, HEADS = 20, 9, 8, 2


def wave(*shape, frequency=1.0):
    values = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(frequency * values + frequency).view(shape)


def unpadded(rows, lengths):
    """The valid positions of ``[B, L, ...]``, a sequence at a time."""
    return [row[:n] for row, n in zip(rows, lengths.tolist(), strict=True)]


def arrange(lengths, width, *, padded):
    return PaddedRows(lengths, width) if padded else build_packing(lengths, width)


def own_head(x, head):
    return x[:, head * x.shape[1] // HEADS : (head + 1) * x.shape[1] // HEADS]


def one_by_one(queries, keys, values, *, causal):
    """One sequence, one head and one query at a time. ``[n, D]``.

    Args:
        queries: A tensor a stream, each ``[n, width]``; likewise ``keys``.
    """
    found = []
    for position in range(len(queries[0])):
        heads = []
        for head in range(HEADS):
            shown = position + 1 if causal else len(values)
            scores = sum(
                own_head(key, head)[:shown] @ own_head(query, head)[position]
                for query, key in zip(queries, keys, strict=True)
            )
            weights = (scores / math.sqrt(SIZE / HEADS)).softmax(dim=0)
            heads.append(weights @ own_head(values, head)[:shown])
        found.append(torch.cat(heads))
    return torch.stack(found)


def check(actual, expected, actual_inputs, expected_inputs, layer):
    """Values, and gradients of the inputs and of every parameter."""
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    weight = torch.cos(torch.arange(actual.numel(), dtype=torch.float64)).view_as(actual)
    parameters = list(layer.parameters())
    found = [
        torch.autograd.grad((out * weight).sum(), [*inputs, *parameters])
        for out, inputs in ((actual, actual_inputs), (expected, expected_inputs))
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def rows_twice(*widths, length=LENGTH):
    """Padded rows ``[B, length, width]``, twice, each with its own gradient."""
    return [
        [
            wave(len(LENGTHS), length, width, frequency=0.7 + 0.1 * number).requires_grad_()
            for number, width in enumerate(widths)
        ]
        for _ in range(2)
    ]


def valid(out, packing, *, last_only):
    """What is compared of an output: all but padding."""
    if last_only or not isinstance(packing, PaddedRows):
        return out
    return out[packing.position < packing.lengths[packing.sequence]]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_further_streams_of_queries_and_keys(causal, same, last_only, padded):
    sizes = (4, 6)
    layer = SelfAttention(
        hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0, causal=causal, side_sizes=sizes
    ).double()
    fill_parameters(layer)
    packing = arrange(LENGTHS, LENGTH, padded=padded)
    ours, plain = rows_twice(SIZE, *sizes, SIZE, SIZE)
    tokens, *side, keys, values = (packing.pack(rows) for rows in ours)
    context = StepContext(packing, keys=keys, values=values, side=side)
    queries = tokens if same else 2 * tokens
    if last_only:
        actual = layer.at_last(queries[packing.last], tokens, context)
    else:
        actual = layer(queries, tokens, context)
    expected = []
    for x, *streams, key, value in zip(*(unpadded(rows, LENGTHS) for rows in plain), strict=True):
        q = [layer.query(x if same else 2 * x)]
        k = [layer.key(x) + key]
        q += [f(stream) for f, stream in zip(layer.side_queries, streams, strict=True)]
        k += [f(stream) for f, stream in zip(layer.side_keys, streams, strict=True)]
        row = layer.output(one_by_one(q, k, layer.value(x) + value, causal=causal))
        expected.append(row[-1:] if last_only else row)
    actual = valid(actual, packing, last_only=last_only)
    check(actual, torch.cat(expected), ours, plain, layer)


@pytest.mark.parametrize("last_only", [False, True])
def test_terms_between_tokens_read_the_tokens_own_queries(last_only):
    layer = SelfAttention(
        hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0, side_sizes=(4,)
    ).double()
    fill_parameters(layer)
    packing = build_packing(LENGTHS, LENGTH)
    x, stream = wave(int(LENGTHS.sum()), SIZE), wave(int(LENGTHS.sum()), 4, frequency=0.6)
    table, nothing = wave(3, SIZE, frequency=0.9), torch.zeros(3, SIZE, dtype=torch.float64)
    pairs = interval_pairs(packing.position, packing, table, nothing)  # 0, 1, or 2 and more apart
    context = StepContext(packing, pairs=pairs, side=[stream])
    actual = layer.at_last(x[packing.last], x, context) if last_only else layer(x, x, context)
    expected = []
    sizes = LENGTHS.tolist()
    for own, other in zip(x.split(sizes), stream.split(sizes), strict=True):
        rows = []
        for position in range(len(own)):
            shown = slice(0, position + 1)
            apart = (position - torch.arange(position + 1)).clamp(max=2)
            query = [layer.query(own)[[position]], layer.side_queries[0](other)[[position]]]
            key = [layer.key(own)[shown] + table[apart], layer.side_keys[0](other)[shown]]
            rows.append(one_by_one(query, key, layer.value(own)[shown], causal=False))
        row = layer.output(torch.cat(rows))
        expected.append(row[-1:] if last_only else row)
    torch.testing.assert_close(actual, torch.cat(expected), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("padded_sources", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
def test_cross_attention(last_only, padded, padded_sources):
    layer = CrossAttention(hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0).double()
    fill_parameters(layer)
    packing = arrange(LENGTHS, LENGTH, padded=padded)
    sources = arrange(SOURCES, N_SOURCES, padded=padded_sources)
    (tokens,), (plain_tokens,) = rows_twice(SIZE)
    (rows,), (plain_rows,) = rows_twice(SIZE, length=N_SOURCES)
    cross = CrossRows(sources.pack(rows), cross_buckets(packing, sources))
    context, x = StepContext(packing, cross_rows=cross), packing.pack(tokens)
    actual = layer.at_last(x[packing.last], context) if last_only else layer(x, context)
    expected = []
    for own, other in zip(
        unpadded(plain_tokens, LENGTHS), unpadded(plain_rows, SOURCES), strict=True
    ):
        mixed = one_by_one([layer.query(own)], [layer.key(other)], layer.value(other), causal=False)
        row = layer.output(mixed)
        expected.append(row[-1:] if last_only else row)
    actual = valid(actual, packing, last_only=last_only)
    check(actual, torch.cat(expected), [tokens, rows], [plain_tokens, plain_rows], layer)


def test_cross_attention_sees_the_sources_of_its_own_sequence_only():
    layer = CrossAttention(hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0).double()
    fill_parameters(layer)
    packing, sources = build_packing(LENGTHS, LENGTH), build_packing(SOURCES, N_SOURCES)
    tokens = wave(int(SOURCES.sum()), SIZE)
    changed = tokens.clone()
    changed[sources.sequence == 3] += 1
    x, buckets = wave(int(LENGTHS.sum()), SIZE), cross_buckets(packing, sources)
    outs = [
        layer(x, StepContext(packing, cross_rows=CrossRows(rows, buckets)))
        for rows in (tokens, changed)
    ]
    differs = (outs[0] != outs[1]).any(dim=1)
    assert differs.tolist() == (packing.sequence == 3).tolist()


def test_a_sequence_without_sources_is_refused():
    packing = build_packing(torch.tensor([2, 3]), 4)
    sources = build_packing(torch.tensor([2, 0]), 4)
    with pytest.raises(ValueError, match="every sequence must have a source token"):
        cross_buckets(packing, sources)


def test_cross_attention_without_rows_is_refused():
    layer = CrossAttention(hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0)
    packing = build_packing(torch.tensor([2]), 4)
    with pytest.raises(ValueError, match="cross_rows must be in the context"):
        layer(torch.zeros(2, SIZE), StepContext(packing))


def test_streams_beside_a_sink_are_refused():
    with pytest.raises(ValueError, match="side_sizes must be empty"):
        SelfAttention(
            hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0, sink_length=9, side_sizes=(4,)
        )


def test_a_stream_is_split_among_the_heads():
    with pytest.raises(ValueError, match=r"side_sizes must be multiples of n_heads \(2\)"):
        SelfAttention(hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0, side_sizes=(4, 3))


def test_a_stream_of_which_the_layer_has_no_maps_is_refused():
    layer = SelfAttention(hidden_size=SIZE, n_heads=HEADS, attn_dropout_prob=0.0)
    packing = build_packing(torch.tensor([2]), 4)
    x = torch.zeros(2, SIZE)
    with pytest.raises(ValueError, match="zip"):
        layer(x, x, StepContext(packing, side=[torch.zeros(2, 3)]))


def test_maps_without_bias_have_no_sink():
    options = {"hidden_size": SIZE, "n_heads": HEADS, "attn_dropout_prob": 0.0, "bias": False}
    attention = SelfAttention(**options)
    assert all(name.endswith("weight") for name in attention.state_dict())
    with pytest.raises(ValueError, match="bias must be true where there is a sink_length"):
        SelfAttention(**options, sink_length=9)
