"""eSASRec against RecTools' LiGR layers (fixtures/zoo/ligr.npz)."""

import pytest
from helpers import assert_close
from zoo_ids import JOINT, ORDERS, TOLERANCE, Recorded, with_leaves

pytestmark = pytest.mark.parity

NAMES = {
    "item_embedding": "item_model.emb",
    "position_embedding": "pos_encoding_layer.pos_emb",
}
for layer in range(2):
    ours, theirs = f"encoder.layers.{layer}", f"transformer_layers.transformer_blocks.{layer}"
    parts = {
        "attention.output": "multi_head_attn.out_proj",
        "attention_norm": "layer_norm_1",
        "norm": "layer_norm_2",
        "attention_gate": "gating_linear_1",
        "gate": "gating_linear_2",
        "inner": "feed_forward.ff_linear_1",
        "outer": "feed_forward.ff_linear_2",
        "linear": "feed_forward.ff_linear_3",
    }
    NAMES |= with_leaves(ours, theirs, parts)
    joint = f"{theirs}.multi_head_attn.in_proj"
    NAMES |= {f"{ours}.attention.{part}": (joint, part) for part in JOINT}


@pytest.fixture(scope="module")
def recorded():
    return Recorded("ligr", NAMES)


def build(recorded, monkeypatch, order=slice(None), **overrides):
    heads = int(recorded["in/heads"])
    options = {"n_layers": 2, "n_heads": heads, "n_negatives": 5, **overrides}
    model = recorded.build("eSASRec", **options)
    drawn = recorded.tokens("in/negatives", order)
    monkeypatch.setattr(model, "draw_negatives", lambda *_: drawn)
    return model


def test_scores_equal_the_authors(recorded, monkeypatch):
    model = build(recorded, monkeypatch)
    recorded.check_scores(model)
    recorded.check_tower(model)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_loss_and_gradients_equal_the_authors(recorded, order, monkeypatch):
    model = build(recorded, monkeypatch, order).train()
    losses = model.named_losses(recorded.interaction(order))
    assert list(losses) == ["sampled"]
    assert_close(losses["sampled"], recorded["out/sampled_softmax"], TOLERANCE)
    recorded.check_gradients(model, losses["sampled"])


def test_the_whole_softmax_and_its_gradients_equal_the_authors(recorded, monkeypatch):
    model = build(recorded, monkeypatch, loss="ce", n_negatives=0).train()
    losses = model.named_losses(recorded.interaction())
    assert_close(losses["cross_entropy"], recorded["out/softmax"], TOLERANCE)
    # Their padding item is a constant candidate; ours is trained, as that of every model.
    constant = ["item_embedding.weight"]
    recorded.check_gradients(model, losses["cross_entropy"], "grad_softmax", leave_out=constant)


def test_thirty_adam_steps_equal_the_authors(recorded, monkeypatch):
    model, batch = build(recorded, monkeypatch), recorded.interaction()
    recorded.check_trajectory(model, lambda: model.calculate_loss(batch))
