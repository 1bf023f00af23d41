"""KERec against its authors (fixtures/zoo/kerec.npz)."""

import pytest
import torch
from helpers import assert_close
from zoo_ids import ORDERS, TOLERANCE, Recorded, with_leaves

from recbole_hm4sr.layers.losses import loss_rows

pytestmark = pytest.mark.parity

NAMES = {
    "item_embedding": "item_embeddings",
    "position_embedding": "position_embeddings",
    "input_norm": "LayerNorm",
    "temperature": "output_head.temperature",
}
for layer in range(2):
    ours, theirs = f"encoder.layers.{layer}", f"item_encoder.layer.{layer}"
    parts = {
        **{f"attention.{part}": f"attention.{part}" for part in ("query", "key", "value")},
        "attention.output": "attention.dense",
        "gate_inner": "taylor_extractor.fusion_gate.0",
        "gate_output": "taylor_extractor.fusion_gate.2",
        "norm": "LayerNorm",
        "feed_forward.inner": "intermediate.dense_1",
        "feed_forward.output": "intermediate.dense_2",
        "feed_forward.norm": "intermediate.LayerNorm",
    }
    NAMES |= {**with_leaves(ours, theirs, parts), f"{ours}.lag_weight": f"{theirs}.alpha"}


@pytest.fixture(scope="module")
def recorded():
    return Recorded("kerec", NAMES)


def build(recorded, monkeypatch, order=slice(None)):
    model = recorded.build(
        "KERec",
        train_mode="prefix",
        position_order="newest",
        inner_size=32,
        n_heads=int(recorded["in/heads"]),
        lags=recorded["in/scales"].tolist(),
        noise_scale=float(recorded["in/noise_scale"]),
        cl_weight=float(recorded["in/cl_weight"]),
    )
    noise = [recorded.tokens(f"in/noise_{kind}", order) for kind in ("normal", "uniform")]
    monkeypatch.setattr(model, "draw_noise", lambda *_: noise)
    return model


def test_scores_equal_the_authors(recorded, monkeypatch):
    model = build(recorded, monkeypatch)
    recorded.check_scores(model)
    directions = torch.nn.functional.normalize(recorded["out/user"], dim=-1)
    recorded.check_tower(model, directions / recorded["param/output_head.temperature"])


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_losses_and_gradients_equal_the_authors(recorded, order, monkeypatch):
    model = build(recorded, monkeypatch, order).train()
    batch = recorded.interaction(order)
    losses = model.named_losses(batch)
    assert list(losses) == ["cross_entropy", "noise_contrast"]
    assert_close(losses["cross_entropy"], recorded["out/rec"], TOLERANCE)
    weight = recorded["in/cl_weight"]
    assert_close(losses["noise_contrast"], weight * recorded["out/nce"], TOLERANCE)
    recorded.check_gradients(model, sum(losses.values()))


def test_the_states_with_noise_equal_the_authors(recorded, monkeypatch):
    model = build(recorded, monkeypatch).train()
    encoded = model(model.read(recorded.interaction(), train=True))
    assert_close(encoded.states, recorded["out/user"], TOLERANCE)
    assert_close(encoded.noisy, recorded["out/noisy_user"], TOLERANCE)


def test_the_mean_over_masks_equals_the_authors(recorded, monkeypatch):
    model = build(recorded, monkeypatch).train()
    masks = recorded["head/masks"]
    monkeypatch.setattr(model, "masked", lambda states: states * masks)
    encoded = model(model.read(recorded.interaction(), train=True))
    scores = encoded.catalogue.scores(encoded.users)
    assert_close(scores, recorded["head/scores"], TOLERANCE)
    rows = loss_rows(recorded["in/target"])
    expected = torch.nn.functional.cross_entropy(recorded["head/scores"], recorded["in/target"])
    assert_close(encoded.catalogue.loss(encoded.users, rows), expected, TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(recorded, monkeypatch):
    model, batch = build(recorded, monkeypatch), recorded.interaction()
    recorded.check_trajectory(model, lambda: model.calculate_loss(batch))
