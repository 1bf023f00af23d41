"""DuoRec against its authors and against ICSRec (fixtures/zoo/duorec.npz and icsrec.npz)."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from helpers import assert_close
from zoo_ids import ORDERS, TOLERANCE, Recorded, with_leaves

from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.layers.nt_xent import nt_xent

pytestmark = pytest.mark.parity

MAPS = {
    **{part: part for part in ("query", "key", "value")},
    "output": "dense",
}
DUOREC = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "input_norm": "LayerNorm",
}
ICSREC = {
    "item_embedding": "item_embeddings",
    "position_embedding": "position_embeddings",
    "input_norm": "LayerNorm",
}
for layer in range(2):
    ours = f"encoder.layers.{layer}"
    parts = {"inner": "dense_1", "output": "dense_2", "norm": "LayerNorm"}
    theirs = f"trm_encoder.layer.{layer}"
    DUOREC |= {
        **with_leaves(f"{ours}.attention", f"{theirs}.multi_head_attention", MAPS),
        **with_leaves(f"{ours}.feed_forward", f"{theirs}.feed_forward", parts),
        f"{ours}.attention_norm": f"{theirs}.multi_head_attention.LayerNorm",
    }
    theirs = f"item_encoder.layer.{layer}"
    ICSREC |= {
        **with_leaves(f"{ours}.attention", f"{theirs}.attention", MAPS),
        **with_leaves(f"{ours}.feed_forward", f"{theirs}.intermediate", parts),
        f"{ours}.attention_norm": f"{theirs}.attention.LayerNorm",
    }


@dataclasses.dataclass(frozen=True)
class RecordedPartners:
    """Stands for the samples with the same target: those that were recorded."""

    items: torch.Tensor
    lengths: torch.Tensor

    def windows(self, positions, draws):
        assert len(positions) == len(draws) == len(self.items)
        return self.items, torch.zeros_like(self.items), self.lengths


@pytest.fixture(scope="module")
def duorec():
    return Recorded("duorec", DUOREC)


@pytest.fixture(scope="module")
def icsrec():
    return Recorded("icsrec", ICSREC)


def batch_of(recorded, order=slice(None)):
    batch = recorded.interaction(order)
    batch.interaction[FIRST_POSITION] = torch.zeros_like(batch["item_length"])
    return batch


def build(recorded, items, lengths, **overrides):
    model = recorded.build("DuoRec", train_mode="prefix", n_heads=2, **overrides)
    partners = RecordedPartners(items, lengths)
    model.arrange = dataclasses.replace(model.arrange, partners=partners)
    return model


def build_duorec(recorded, order=slice(None), **overrides):
    items, lengths = recorded["in/sem_seq"][order], recorded["in/sem_len"][order]
    return build(recorded, items, lengths, inner_size=16, **overrides)


def build_icsrec(recorded, order=slice(None)):
    lengths = recorded["in/partner_len"]
    items = recorded.right_padded("in/partner_left_padded", lengths)[order]
    options = {
        "n_items": 30,  # theirs have a row for a mask that is never shown
        "inner_size": 32,
        "contrast_views": "su",
        "mask_same_target": True,
        "tau": float(recorded["in/tau"]),
        "lmd_sem": float(recorded["in/lambda_0"]),
    }
    model = build(recorded, items, lengths[order], **options)
    model.positions = "newest"
    return model


def test_scores_equal_the_authors(duorec):
    model = build_duorec(duorec)
    duorec.check_scores(model)
    duorec.check_tower(model)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_losses_and_gradients_equal_the_authors(duorec, order):
    model = build_duorec(duorec, order).train()
    losses = model.named_losses(batch_of(duorec, order))
    assert list(losses) == ["cross_entropy", "same_target_contrast"]
    assert_close(losses["same_target_contrast"], 0.1 * duorec["out/nce"], TOLERANCE)
    loss = sum(losses.values())
    assert_close(loss, duorec["out/loss"], TOLERANCE)
    duorec.check_gradients(model, loss)


def test_the_logits_are_those_of_the_authors(duorec):
    model = build_duorec(duorec).train()
    encoded = model(model.read(batch_of(duorec), train=True))
    z = torch.cat([encoded.views["again"], encoded.views["partner"]])
    logits = z @ z.T
    own, other = torch.arange(24), (torch.arange(24) + 12) % 24
    rest = [logits[row, (own != row) & (own != other[row])] for row in range(24)]
    found = torch.cat([logits[own, other][:, None], torch.stack(rest)], dim=1)
    assert_close(found, duorec["out/nce_logits"], TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(duorec):
    model, batch = build_duorec(duorec), batch_of(duorec)
    duorec.check_trajectory(model, lambda: model.calculate_loss(batch))


@pytest.mark.parametrize("views", ["us", "un"])
def test_without_dropout_two_passes_are_one(duorec, views):
    model = build_duorec(duorec, contrast_views=views).train()
    encoded = model(model.read(batch_of(duorec), train=True))
    assert_close(encoded.views["again"], encoded.views["own"], TOLERANCE)
    losses = model.named_losses(batch_of(duorec))
    z = torch.cat([duorec["out/user"]] * 2)
    logits = (z @ z.T).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits, (torch.arange(24) + 12) % 24)
    assert_close(losses["dropout_contrast"], 0.1 * expected, TOLERANCE)
    if views == "us":  # without dropout it is also that of us_x
        assert_close(losses["same_target_contrast"], 0.1 * duorec["out/nce"], TOLERANCE)


def fine_contrast(recorded, states):
    """ICSRec's contrast with the nearest centres, which is not part of the model."""
    raw = recorded["in/centroids_raw"]
    nearest = torch.cdist(states.detach(), raw).argmin(dim=1)
    centres = F.normalize(raw, dim=-1)[nearest]
    return nearest, nt_xent(states, centres, temperature=1.0, ids=nearest)


@pytest.mark.parametrize("order", ORDERS, ids=["", "reversed"])
def test_losses_and_gradients_equal_those_of_icsrec(icsrec, order):
    model = build_icsrec(icsrec, order).train()
    batch = batch_of(icsrec, order)
    losses = model.named_losses(batch)
    assert_close(losses["cross_entropy"], icsrec["out/rec"], TOLERANCE)
    weight = icsrec["in/lambda_0"]
    assert_close(losses["same_target_contrast"], weight * icsrec["out/cicl"], TOLERANCE)
    views = model(model.read(batch, train=True)).views
    assert_close(views["partner"], icsrec["out/partner"][order], TOLERANCE)
    nearest, fine = fine_contrast(icsrec, views["own"])
    assert torch.equal(nearest, icsrec["out/cluster"][order])
    fine = fine + fine_contrast(icsrec, views["partner"])[1]
    assert_close(fine, icsrec["out/ficl"], TOLERANCE)
    icsrec.check_gradients(model, sum(losses.values()) + icsrec["in/beta_0"] * fine)


def test_scores_equal_those_of_icsrec(icsrec):
    model = build_icsrec(icsrec)
    icsrec.check_scores(model)
    icsrec.check_tower(model)
