"""TiSASRec against numbers of the authors' modules (fixtures/zoo/tisasrec*.npz)."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from zoo import ORDERS, TOLERANCE, batch_of, in_tokens, load, right_padded, steps_of

from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.time_scales import time_scales
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.pairs import RowScales, interval_pairs, row_scales, scaled_tokens
from recbole_hm4sr.model.timed.tisasrec import TiSASRec

pytestmark = pytest.mark.parity
N_ITEMS = 29  # the authors' table has one row more, which is not used
TABLES = {
    "item_embedding": "token_embedding.emb",
    "position_keys": "position_key_embedding.emb",
    "position_values": "position_value_embedding.emb",
    "interval_keys": "relative_time_key_embedding.time_emb",
    "interval_values": "relative_time_value_embedding.time_emb",
}
NAMES = {
    **TABLES,
    "output_norm": "body.ln",
    **{
        f"encoder.layers.{layer}.{ours}": f"body.transformer_blocks.{layer}.{theirs}"
        for layer in range(2)
        for ours, theirs in {
            "attention.query": "attention.linear_layers.0",
            "attention.key": "attention.linear_layers.1",
            "attention.value": "attention.linear_layers.2",
            "attention_norm": "norm1",
            "norm": "norm2",
            "inner": "feed_forward.w_1",
            "outer": "feed_forward.w_2",
        }.items()
    },
}


@pytest.fixture(scope="module")
def numbers():
    found = load("tisasrec")
    found["lengths"] = (found["in/tokens"] > 0).sum(dim=1)
    return found


def of_authors(numbers, kind, name):
    module, _, leaf = name.rpartition(".")
    value = numbers[f"{kind}/{NAMES[module]}.{leaf}"]
    return value[:N_ITEMS] if module == "item_embedding" else value


def build(numbers):
    config = model_config(
        "TiSASRec",
        hidden_size=8,
        n_heads=2,
        layer_norm_eps=1e-5,
        scale_embedding=False,
        max_interval=6,
        interval_scale=1.0,  # the recorded times are scaled already
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
    )
    model = TiSASRec(config, ArrayDataset(N_ITEMS)).double()
    model.load_state_dict({n: of_authors(numbers, "param", n) for n in model.state_dict()})
    return model


def interaction(numbers, **options):
    lengths = numbers["lengths"]
    rows = {name: right_padded(numbers[f"in/{name}"], lengths) for name in ("tokens", "labels")}
    times = right_padded(numbers["in/scaled_times"], lengths)
    return batch_of(rows["tokens"], lengths, times=times, labels=rows["labels"], **options)


def negatives(numbers, order=slice(None)):
    rows = right_padded(numbers["in/negatives"], numbers["lengths"])
    labels = right_padded(numbers["in/labels"], numbers["lengths"])
    drawn = in_tokens(rows, numbers["lengths"], order)
    return drawn[in_tokens(labels, numbers["lengths"], order) > 0][:, None]


@pytest.mark.parametrize("padding", [0, 3])
@ORDERS
def test_scores_equal_the_authors(numbers, order, padding):
    model = build(numbers).eval()
    with torch.no_grad():
        scores = model.full_sort_predict(interaction(numbers, order=order, padding=padding))
    assert_close(scores, numbers["out/scores"][order], TOLERANCE)


def test_the_exported_tower_equals_the_authors(numbers):
    model, batch = build(numbers).eval(), interaction(numbers)
    users = model.user_tower()(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users @ model.item_vectors().T, numbers["out/scores"], TOLERANCE)


@ORDERS
def test_loss_and_gradients_equal_the_authors(numbers, order, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_other_items", lambda _: negatives(numbers, order))
    losses = model.named_losses(interaction(numbers, order=order))
    assert list(losses) == ["bce"]
    assert_close(losses["bce"], numbers["out/loss"], TOLERANCE)
    losses["bce"].backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, of_authors(numbers, "grad", name), TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_other_items", lambda _: negatives(numbers))
    steps_of(model, interaction(numbers), numbers["out/adam_trajectory"])


@pytest.mark.parametrize("arrange", [build_packing, PaddedRows])
def test_relations_equal_the_authors(arrange):
    recorded = load("tisasrec_relation")
    times = recorded["in/times"].long()
    lengths = (times >= 0).sum(dim=1)
    packing = arrange(lengths, times.shape[1])
    seconds = packing.pack(times)
    scaled = scaled_tokens(seconds, packing, row_scales(seconds, packing))
    inside = packing.position < lengths[packing.sequence]
    expected = recorded["out/scaled"][times >= 0]
    assert scaled[inside].tolist() == expected.tolist()
    tables = torch.zeros(int(recorded["in/clip"]) + 1, 1)
    for pairs, bucket in zip(
        interval_pairs(scaled, packing, tables, tables), packing.buckets, strict=True
    ):
        for row, sequence in zip(pairs._relation, bucket.sequences.tolist(), strict=True):
            n = int(lengths[sequence])
            assert row[:n, :n].equal(recorded["out/relation"][sequence, :n, :n])


def test_the_unit_of_a_user_comes_from_the_known_interactions():
    recorded = load("tisasrec_relation")
    times = recorded["in/times"].long().numpy()
    users, columns = np.nonzero(times >= 0)
    log = InteractionLog.of_ordered(users, np.ones_like(users), times[users, columns])
    scales = time_scales(log, np.ones(len(log), dtype=bool), "s")
    lengths = torch.from_numpy((times >= 0).sum(axis=1))
    packing = build_packing(lengths, times.shape[1])
    of_tokens = torch.from_numpy(scales.origins), torch.from_numpy(scales.gaps)
    of_rows = RowScales(*(values[packing.last] for values in of_tokens))
    seconds = torch.from_numpy(log.times)
    scaled = scaled_tokens(seconds, packing, of_rows)
    assert scaled.tolist() == recorded["out/scaled"][recorded["in/times"] >= 0].tolist()
    # Without the second of two interactions there is no gap, and the unit is a second.
    known = np.array([True, False])
    log = InteractionLog.of_ordered(np.zeros(2, dtype=int), np.ones(2, dtype=int), np.array([5, 9]))
    assert time_scales(log, known, "s").gaps.tolist() == [1, 1]
    assert time_scales(log, ~known | known, "s").gaps.tolist() == [4, 4]
