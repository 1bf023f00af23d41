"""Blocks and attention with terms between tokens, against numbers of the authors' modules."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_close

from recbole_hm4sr.layers.attention import CrossAttention, SelfAttention, StepContext
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SASRecBlock, SequenceEncoder
from recbole_hm4sr.layers.cross_rows import CrossRows, cross_buckets
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.pairs import interval_pairs

pytestmark = pytest.mark.parity
ZOO = Path(__file__).parent / "fixtures" / "zoo"
TOLERANCE = 1e-9
LENGTH, SIZE = 10, 8


def load(name):
    with np.load(ZOO / f"{name}.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def rows_of(left_padded, lengths):
    """Left-padded rows as right-padded ones."""
    rows = torch.zeros_like(left_padded)
    for row, n in enumerate(lengths.tolist()):
        rows[row, :n] = left_padded[row, LENGTH - n :]
    return rows


def block(numbers, names, *, attention=None, **options):
    """A block with the parameters of the fixture; ``names`` maps ours to theirs."""
    attention = SelfAttention(
        hidden_size=SIZE, attn_dropout_prob=0.0, **{"n_heads": 1, **(attention or {})}
    )
    made = SASRecBlock(
        attention=attention, hidden_size=SIZE, hidden_dropout_prob=0.0, **options
    ).double()
    state = {}
    for ours, theirs in names.items():
        for leaf in ("weight", "bias"):
            if f"{ours}.{leaf}" in made.state_dict():
                value = numbers[f"param/{theirs}.{leaf}"]
                state[f"{ours}.{leaf}"] = value.squeeze(-1) if value.ndim == 3 else value
    made.load_state_dict(state)
    return made


def arrangements(lengths):
    return [build_packing(lengths, LENGTH), PaddedRows(lengths, LENGTH)]


def newest_positions(packing):
    """The index in a left-padded window: the newest item always has the last."""
    return LENGTH - packing.lengths[packing.sequence] + packing.position


def check(encoder, inputs, context, norm, hidden, lengths):
    """Every position, and the last ones, equal the recorded states."""
    packing = context.packing
    states = norm(encoder.at_every_position(inputs, context))
    users = norm(encoder(inputs, context))
    expected = rows_of(hidden, lengths)
    steps = torch.arange(LENGTH) < lengths[:, None]
    inside = packing.pack(steps[..., None])[:, 0]
    assert_close(states[inside], expected[steps], TOLERANCE)
    assert_close(users, hidden[:, -1], TOLERANCE)
    return users


@pytest.mark.parametrize("padded", [0, 1])
def test_gsasrec(padded):
    numbers = load("gsasrec")
    lengths = numbers["in/item_len"]
    packing = arrangements(lengths)[padded]
    encoder = SequenceEncoder(
        [
            block(
                numbers,
                {
                    "attention.query": f"{part}.multihead_attention.query_proj",
                    "attention.key": f"{part}.multihead_attention.key_proj",
                    "attention.value": f"{part}.multihead_attention.val_proj",
                    "attention_norm": f"{part}.first_norm",
                    "norm": f"{part}.second_norm",
                    "inner": f"{part}.dense1",
                    "outer": f"{part}.dense2",
                },
                attention={"n_heads": int(numbers["in/heads"]), "output_map": False},
                layer_norm_eps=1e-5,
                residual="normed",
                dropout_at="after",
            )
            for part in ("transformer_blocks.0", "transformer_blocks.1")
        ]
    )
    items = packing.pack(rows_of(numbers["in/seq_left_padded"], lengths))
    positions = newest_positions(packing).clamp(max=LENGTH - 1)
    x = F.embedding(items, numbers["param/item_embedding.weight"])
    x = x + F.embedding(positions, numbers["param/position_embedding.weight"])

    def norm(states):
        weight, bias = (numbers[f"param/seq_norm.{leaf}"] for leaf in ("weight", "bias"))
        return F.layer_norm(states, (SIZE,), weight, bias, eps=1e-5)

    users = check(encoder, x, StepContext(packing), norm, numbers["out/hidden"], lengths)
    scores = users @ numbers["param/output_embedding.weight"][1:29].T
    assert_close(scores, numbers["out/scores"], TOLERANCE)


@pytest.mark.parametrize("padded", [0, 1])
def test_the_original_sasrec_with_its_sink(padded):
    numbers = load("sasrec_original")
    lengths = numbers["in/item_len"]
    packing = arrangements(lengths)[padded]
    blocks = []
    for number in range(2):
        part = f"attnLayers.{number}"
        for leaf in ("weight", "bias"):  # one matrix for all three maps
            joint = numbers[f"param/{part}.in_proj_{leaf}"].chunk(3)
            for name, value in zip(("query", "key", "value"), joint, strict=True):
                numbers[f"param/{part}.{name}.{leaf}"] = value
        names = {
            "attention.query": f"{part}.query",
            "attention.key": f"{part}.key",
            "attention.value": f"{part}.value",
            "attention.output": f"{part}.out_proj",
            "attention_norm": f"attnLNs.{number}",
            "norm": f"fwdLNs.{number}",
            "inner": f"fwdLayers.{number}.conv1",
            "outer": f"fwdLayers.{number}.conv2",
        }
        blocks.append(
            block(
                numbers,
                names,
                attention={"n_heads": int(numbers["in/heads"]), "sink_length": LENGTH},
                layer_norm_eps=1e-8,
                residual="raw",
                dropout_at="before",
            )
        )
    items = packing.pack(rows_of(numbers["in/seq_left_padded"], lengths))
    x = F.embedding(items, numbers["param/Item.embeddings.weight"]) * SIZE**0.5
    positions = newest_positions(packing).clamp(max=LENGTH - 1)
    x = x + F.embedding(positions, numbers["param/Position.weight"])

    def norm(states):
        weight, bias = (numbers[f"param/lastLN.{leaf}"] for leaf in ("weight", "bias"))
        return F.layer_norm(states, (SIZE,), weight, bias, eps=1e-8)

    encoder = SequenceEncoder(blocks)
    users = check(encoder, x, StepContext(packing), norm, numbers["out/hidden"], lengths)
    scores = users @ numbers["param/Item.embeddings.weight"][1:].T
    assert_close(scores, numbers["out/scores"], TOLERANCE)


@pytest.mark.parametrize("padded", [0, 1])
def test_tisasrec(padded):
    numbers = load("tisasrec")
    tokens = numbers["in/tokens"]
    lengths = (tokens > 0).sum(dim=1)
    packing = arrangements(lengths)[padded]
    blocks = []
    for number in range(2):
        part = f"body.transformer_blocks.{number}"
        names = {
            "attention.query": f"{part}.attention.linear_layers.0",
            "attention.key": f"{part}.attention.linear_layers.1",
            "attention.value": f"{part}.attention.linear_layers.2",
            "attention_norm": f"{part}.norm1",
            "norm": f"{part}.norm2",
            "inner": f"{part}.feed_forward.w_1",
            "outer": f"{part}.feed_forward.w_2",
        }
        blocks.append(
            block(
                numbers,
                names,
                attention={"n_heads": 2, "output_map": False},
                layer_norm_eps=1e-5,
                residual="normed",
                dropout_at="after",
            )
        )
    positions = newest_positions(packing).clamp(max=LENGTH - 1)
    times = packing.pack(rows_of(numbers["in/scaled_times"], lengths))
    tables = [
        numbers[f"param/relative_time_{kind}_embedding.time_emb.weight"]
        for kind in ("key", "value")
    ]
    context = StepContext(
        packing,
        interval_pairs(times, packing, *tables),
        *(
            F.embedding(positions, numbers[f"param/position_{kind}_embedding.emb.weight"])
            for kind in ("key", "value")
        ),
    )
    items = packing.pack(rows_of(tokens, lengths))
    x = F.embedding(items, numbers["param/token_embedding.emb.weight"])

    def norm(states):
        weight, bias = (numbers[f"param/body.ln.{leaf}"] for leaf in ("weight", "bias"))
        return F.layer_norm(states, (SIZE,), weight, bias, eps=1e-5)

    encoder = SequenceEncoder(blocks)
    users = check(encoder, x, context, norm, numbers["out/hidden"], lengths)
    scores = users @ numbers["param/token_embedding.emb.weight"][:29].T
    assert_close(scores, numbers["out/scores"], TOLERANCE)


@pytest.mark.parametrize("padded", [0, 1])
def test_difsr_with_summed_streams(padded):
    numbers = load("difsr")
    lengths = numbers["in/item_len"]
    packing = arrangements(lengths)[padded]
    shared = {"hidden_size": SIZE, "hidden_dropout_prob": 0.0, "layer_norm_eps": 1e-12}
    encoder = SequenceEncoder(
        [
            PostNormBlock(
                attention=SelfAttention(
                    hidden_size=SIZE, n_heads=2, attn_dropout_prob=0.0, side_sizes=(4, 6, SIZE)
                ),
                feed_forward=FeedForward(inner_size=16, hidden_act="gelu", **shared),
                **shared,
            )
            for _ in range(2)
        ]
    ).double()
    theirs = {
        "attention.query": "multi_head_attention.query",
        "attention.key": "multi_head_attention.key",
        "attention.value": "multi_head_attention.value",
        "attention.output": "multi_head_attention.dense",
        "attention_norm": "multi_head_attention.LayerNorm",
        "feed_forward.inner": "feed_forward.dense_1",
        "feed_forward.output": "feed_forward.dense_2",
        "feed_forward.norm": "feed_forward.LayerNorm",
    }
    for kind, other in (("queries", "query"), ("keys", "key")):
        for number in range(2):
            theirs[f"attention.side_{kind}.{number}"] = (
                f"multi_head_attention.{other}_layers.{number}"
            )
        theirs[f"attention.side_{kind}.2"] = f"multi_head_attention.{other}_p"
    names = {
        f"layers.{layer}.{ours}.{leaf}": f"layer.{layer}.{name}.{leaf}"
        for layer in range(2)
        for ours, name in theirs.items()
        for leaf in ("weight", "bias")
    }
    encoder.load_state_dict({ours: numbers[f"sum/param/{name}"] for ours, name in names.items()})
    side = [packing.pack(numbers[f"in/attr{number}"]) for number in range(2)]
    side.append(F.embedding(packing.position, numbers["in/pos"]))
    context = StepContext(packing, side=side)
    x = packing.pack(numbers["in/x"])
    users = encoder(x, context)
    assert_close(users, numbers["sum/ours/user"], TOLERANCE)
    assert_close(encoder.at_every_position(x, context)[packing.last], users, TOLERANCE)
    (users * numbers["in/cotangent"]).sum().backward()
    for ours, name in names.items():
        gradient = encoder.get_parameter(ours).grad
        assert_close(gradient, numbers[f"sum/ours/grad/{name}"], TOLERANCE)


class DecoderBlock(torch.nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a sum and a norm after it."""

    def __init__(self, attention, cross, feed_forward, **shared):
        super().__init__()
        self.attention, self.cross, self.feed_forward = attention, cross, feed_forward
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(SIZE, **shared) for _ in range(2))

    def forward(self, x, context):
        y = self.norms[0](x + self.attention(x, x, context))
        return self.feed_forward(self.norms[1](y + self.cross(y, context)))

    def at_last(self, x, context):
        newest = x[context.packing.last]
        y = self.norms[0](newest + self.attention.at_last(newest, x, context))
        return self.feed_forward(self.norms[1](y + self.cross.at_last(y, context)))


def missrec_weights(numbers, names):
    """Parameters by our names; theirs hold the maps of queries, keys and values in one."""
    state = {}
    for ours, theirs in names.items():
        for leaf in ("weight", "bias"):
            if ours.endswith(("attention", "cross")):
                joint = numbers[f"param/trm_model.{theirs}.in_proj_{leaf}"].chunk(3)
                for name, value in zip(("query", "key", "value"), joint, strict=True):
                    state[f"{ours}.{name}.{leaf}"] = value
                state[f"{ours}.output.{leaf}"] = numbers[
                    f"param/trm_model.{theirs}.out_proj.{leaf}"
                ]
            else:
                state[f"{ours}.{leaf}"] = numbers[f"param/trm_model.{theirs}.{leaf}"]
    return state


@pytest.mark.parametrize("padded", [0, 1])
def test_missrec_attends_to_the_interests_of_a_history(padded):
    numbers = load("missrec")
    lengths, items = numbers["in/item_len"], numbers["in/item_seq"]
    # The interests of a history: clusters of both modalities, each once, without 0.
    clusters = torch.stack([numbers["in/text_interest"], numbers["in/image_interest"]], dim=1)
    owned = [clusters[row[:n]].unique() for row, n in zip(items, lengths, strict=True)]
    owned = [numbers_[numbers_ > 0] for numbers_ in owned]
    interests = torch.nn.utils.rnn.pad_sequence(owned, batch_first=True)
    n_interests = torch.tensor([len(row) for row in owned])
    packing = arrangements(lengths)[padded]
    width = interests.shape[1]
    sources = PaddedRows(n_interests, width) if padded else build_packing(n_interests, width)
    heads = {"hidden_size": SIZE, "n_heads": int(numbers["in/n_heads"]), "attn_dropout_prob": 0.0}
    shared = {"hidden_size": SIZE, "hidden_dropout_prob": 0.0, "layer_norm_eps": 1e-12}
    feed_forward = {**shared, "inner_size": 16, "hidden_act": "gelu"}
    encoder = PostNormBlock(
        attention=SelfAttention(**heads, causal=False),
        feed_forward=FeedForward(**feed_forward),
        **shared,
    ).double()
    decoder = DecoderBlock(
        SelfAttention(**heads, causal=False),
        CrossAttention(**heads),
        FeedForward(**feed_forward),
        eps=1e-12,
    ).double()
    feed = {"feed_forward.inner": "linear1", "feed_forward.output": "linear2"}
    layer = {"attention": "self_attn", "attention_norm": "norm1", "feed_forward.norm": "norm2"}
    names = {ours: f"encoder.layers.0.{theirs}" for ours, theirs in {**feed, **layer}.items()}
    encoder.load_state_dict(missrec_weights(numbers, names))
    layer = {"attention": "self_attn", "cross": "multihead_attn", "feed_forward.norm": "norm3"}
    layer.update({"norms.0": "norm1", "norms.1": "norm2"})
    names = {ours: f"decoder.layers.0.{theirs}" for ours, theirs in {**feed, **layer}.items()}
    decoder.load_state_dict(missrec_weights(numbers, names))

    def norm(states, name):
        weight, bias = (numbers[f"param/{name}.{leaf}"] for leaf in ("weight", "bias"))
        return F.layer_norm(states, (SIZE,), weight, bias, eps=1e-12)

    found = F.embedding(sources.pack(interests), numbers["in/interest_embeddings"])
    found = norm(encoder(found, StepContext(sources)), "trm_model.encoder.norm")
    tokens = packing.pack(items)
    x = F.embedding(packing.position, numbers["param/position_embedding.weight"])
    x = x + F.embedding(tokens, numbers["param/item_embedding.weight"])
    for kind, adaptor in (("text", "text_adaptor"), ("image", "img_adaptor")):
        weight, bias = (numbers[f"param/{adaptor}.{leaf}"] for leaf in ("weight", "bias"))
        x = x + F.linear(numbers[f"in/{kind}"][tokens], weight, bias)
    cross = CrossRows(found, cross_buckets(packing, sources))
    context, x = StepContext(packing, cross_rows=cross), norm(x, "LayerNorm")
    states = {
        "at the last": decoder.at_last(x, context),
        "at every position": decoder(x, context)[packing.last],
    }
    for hidden in states.values():
        users = F.normalize(norm(hidden, "trm_model.decoder.norm"), dim=-1)
        assert_close(users, numbers["out/user"], TOLERANCE)
