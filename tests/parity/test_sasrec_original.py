"""SASRec+ with the original block against CE-SCE-LLMRec (fixtures/zoo/sasrec_original.npz)."""

import pytest
import torch
import torch.nn.functional as F
from helpers import assert_close
from zoo_ids import JOINT, ORDERS, TOLERANCE, Recorded, with_leaves

pytestmark = pytest.mark.parity

NAMES = {
    "item_embedding": "Item.embeddings",
    "position_embedding": "Position",
    "encoder.output_norm": "lastLN",
}
for layer in range(2):
    ours = f"encoder.layers.{layer}"
    NAMES |= {
        **{f"{ours}.attention.{part}": (f"attnLayers.{layer}.in_proj", part) for part in JOINT},
        f"{ours}.attention.output": f"attnLayers.{layer}.out_proj",
        f"{ours}.attention_norm": f"attnLNs.{layer}",
        f"{ours}.norm": f"fwdLNs.{layer}",
        **with_leaves(ours, f"fwdLayers.{layer}", {"inner": "conv1", "outer": "conv2"}),
    }


def as_matrix(value):
    return value.squeeze(-1) if value.ndim == 3 else value


@pytest.fixture(scope="module")
def recorded():
    inner = [name for name in NAMES if name.endswith(("inner", "outer"))]
    return Recorded("sasrec_original", NAMES, dict.fromkeys(inner, as_matrix))


def build(recorded, **overrides):
    return recorded.build(
        "SASRecPlus",
        block="original",
        n_heads=int(recorded["in/heads"]),
        layer_norm_eps=1e-8,
        **overrides,
    )


def test_scores_equal_the_authors(recorded):
    model = build(recorded)
    # Theirs are of the items alone; our padding item has its own score, and is no candidate.
    padding = recorded["out/user"] @ recorded["param/Item.embeddings.weight"][0]
    expected = torch.cat([padding[:, None], recorded["out/scores"]], dim=1)
    recorded.check_scores(model, expected=expected)
    recorded.check_tower(model)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_loss_and_gradients_equal_the_authors(recorded, order):
    model = build(recorded).train()
    losses = model.named_losses(recorded.interaction(order))
    assert list(losses) == ["cross_entropy"]
    assert_close(losses["cross_entropy"], recorded["out/ce"], TOLERANCE)
    recorded.check_gradients(model, losses["cross_entropy"])


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_the_binary_loss_and_gradients_equal_the_authors(recorded, order, monkeypatch):
    model = build(recorded, loss="bce", n_negatives=1).train()
    drawn = recorded.tokens("in/negatives", order)[:, None]
    monkeypatch.setattr(model, "draw_negatives", lambda *_: drawn)
    losses = model.named_losses(recorded.interaction(order))
    assert list(losses) == ["bce"]
    assert_close(losses["bce"], recorded["out/bce"], TOLERANCE)
    recorded.check_gradients(model, losses["bce"], kind="grad_bce")


def test_thirty_adam_steps_equal_the_authors(recorded):
    model, batch = build(recorded), recorded.interaction()
    recorded.check_trajectory(model, lambda: model.calculate_loss(batch))


def test_how_many_zero_vectors_there_are_depends_on_the_window(recorded):
    model = build(recorded, MAX_ITEM_LIST_LENGTH=10).eval()
    batch = recorded.interaction()
    users = model.user_tower()(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    for block in model.encoder.layers:
        block.attention.sink_length = 20
    longer = model.user_tower()(
        batch["item_id_list"], batch["item_length"], batch["timestamp_list"]
    )
    assert F.cosine_similarity(users, longer).min() < 0.999
