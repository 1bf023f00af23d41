"""BSARec and FMLP-Rec against their authors (fixtures/zoo/bsarec.npz and fmlp.npz)."""

import pytest
from helpers import assert_close
from zoo_ids import ORDERS, TOLERANCE, Recorded, with_leaves

pytestmark = pytest.mark.parity

INPUT = {
    "item_embedding": "item_embeddings",
    "position_embedding": "position_embeddings",
    "input_norm": "LayerNorm",
}
BSAREC, FMLP = {**INPUT}, {**INPUT}
for layer in range(2):
    ours, theirs = f"encoder.layers.{layer}", f"item_encoder.blocks.{layer}"
    attention = {"query": "query", "key": "key", "value": "value", "output": "dense"}
    BSAREC |= {
        f"{ours}.root": f"{theirs}.layer.filter_layer.sqrt_beta",
        f"{ours}.filter_norm": f"{theirs}.layer.filter_layer.LayerNorm",
        f"{ours}.attention_norm": f"{theirs}.layer.attention_layer.LayerNorm",
        **with_leaves(f"{ours}.attention", f"{theirs}.layer.attention_layer", attention),
    }
    maps = {"inner": "dense_1", "output": "dense_2", "norm": "LayerNorm"}
    BSAREC |= with_leaves(f"{ours}.feed_forward", f"{theirs}.feed_forward", maps)
    theirs = f"item_encoder.layer.{layer}"
    FMLP |= {
        f"{ours}.spectrum": f"{theirs}.filterlayer.complex_weight",
        f"{ours}.norm": f"{theirs}.filterlayer.LayerNorm",
        **with_leaves(f"{ours}.feed_forward", f"{theirs}.intermediate", maps),
    }


@pytest.fixture(scope="module")
def bsarec():
    shapes = {f"encoder.layers.{layer}.root": lambda b: b.flatten() for layer in range(2)}
    return Recorded("bsarec", BSAREC, shapes)


@pytest.fixture(scope="module")
def fmlp():
    shapes = {f"encoder.layers.{layer}.spectrum": lambda w: w[0] for layer in range(2)}
    return Recorded("fmlp", FMLP, shapes)


def build_bsarec(recorded):
    return recorded.build(
        "BSARec",
        inner_size=32,
        n_heads=int(recorded["in/heads"]),
        alpha=float(recorded["in/alpha"]),
        cutoff=int(recorded["in/c"]),
    )


def build_fmlp(recorded, monkeypatch, order=slice(None)):
    model = recorded.build("FMLPRec", inner_size=32, loss="bce", n_negatives=1)
    drawn = recorded["in/negative"][order][:, None]
    monkeypatch.setattr(model, "draw_negatives", lambda *_: drawn)
    return model


def test_scores_of_bsarec_equal_the_authors(bsarec):
    model = build_bsarec(bsarec)
    bsarec.check_scores(model)
    bsarec.check_tower(model)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_loss_and_gradients_of_bsarec_equal_the_authors(bsarec, order):
    model = build_bsarec(bsarec).train()
    losses = model.named_losses(bsarec.interaction(order))
    assert_close(losses["cross_entropy"], bsarec["out/loss"], TOLERANCE)
    bsarec.check_gradients(model, losses["cross_entropy"])


def test_thirty_adam_steps_of_bsarec_equal_the_authors(bsarec):
    model, batch = build_bsarec(bsarec), bsarec.interaction()
    bsarec.check_trajectory(model, lambda: model.calculate_loss(batch))


def test_scores_of_fmlp_equal_the_authors(fmlp, monkeypatch):
    model = build_fmlp(fmlp, monkeypatch)
    fmlp.check_scores(model)
    fmlp.check_tower(model)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_loss_and_gradients_of_fmlp_equal_the_authors(fmlp, order, monkeypatch):
    model = build_fmlp(fmlp, monkeypatch, order).train()
    losses = model.named_losses(fmlp.interaction(order))
    assert_close(losses["bce"], fmlp["out/loss"], TOLERANCE)
    fmlp.check_gradients(model, losses["bce"])
    for block in model.encoder.layers:  # frequency 0, and the highest of an even window
        assert not block.spectrum.grad[[0, -1], :, 1].any()


def test_thirty_adam_steps_of_fmlp_equal_the_authors(fmlp, monkeypatch):
    model, batch = build_fmlp(fmlp, monkeypatch), fmlp.interaction()
    fmlp.check_trajectory(model, lambda: model.calculate_loss(batch))
