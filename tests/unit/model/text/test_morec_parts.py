"""MoRec's negatives, and the loss among the items of a batch by hand."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.softmax import TargetShares
from recbole_hm4sr.model.text.morec import MoRec
from recbole_hm4sr.model.text.morec_batch import MoRecBatch, UserItems

N_ITEMS = 8


def test_every_other_item_is_drawn_and_no_own_one():
    users = np.array([0, 0, 0, 2, 2, 2, 2, 2, 2, 2])
    items = np.array([3, 1, 3, 1, 2, 3, 4, 5, 6, 7])  # user 2 has all, user 1 none
    owned = UserItems(users, items, N_ITEMS)
    numbers = (np.arange(35) + 0.5) / 35
    drawn = {user: owned.draw_others(np.full(35, user), numbers) for user in range(3)}
    # Equal stretches of [0, 1) are equally many of each.
    assert np.bincount(drawn[0], minlength=N_ITEMS).tolist() == [0, 0, 7, 0, 7, 7, 7, 7]
    assert np.bincount(drawn[1], minlength=N_ITEMS).tolist() == [0, *[5] * 7]
    assert not drawn[2].any()


class CountedDataset(ArrayDataset):
    def interaction_counts(self):
        return torch.arange(N_ITEMS)


def build(loss):
    features = torch.randn(N_ITEMS, 3).numpy()
    config = model_config("MoRec", hidden_size=4, n_projections=1, loss=loss)
    return MoRec(config, CountedDataset(N_ITEMS, {"text": features})).double().eval()


BATCH = {
    "items": torch.tensor([1, 2, 3, 2]),  # two windows: 1 2 3 and 2
    "times": torch.zeros(4, dtype=torch.int64),
    "packing": build_packing(torch.tensor([3, 1]), 10),
    "read_at": torch.tensor([0, 2, 3]),
    "targets": torch.tensor([2, 5, 6]),
    "wanted": np.array([1, 2, 3, 5, 6]),
}
PLACES = {0: [1, 2, 3, 5], 1: [2, 6]}


@pytest.mark.parametrize("kind", ["next", "seen", "several"])
@torch.no_grad()
def test_the_loss_among_the_items_of_the_batch(kind):
    model, batch = build("in_batch"), PackedBatch(**BATCH)
    seen = shares = None
    pairs = [(0, 2, 1.0), (1, 5, 1.0), (2, 6, 1.0)]  # row, target, share
    if kind == "seen":  # the user of the second window has seen item 5
        seen = pairs_of_rows(torch.tensor([[2, 5]]), 3)
    if kind == "several":
        pairs = [(0, 2, 0.5), (0, 3, 0.5), (1, 5, 1.0), (2, 6, 1.0)]
        rows = torch.tensor([pair[:2] for pair in pairs])
        weights = torch.tensor([pair[2] for pair in pairs]).double()
        shares = TargetShares(rows, weights, np.array([0, 2, 3, 4]))
    encoded = model(batch, model.training_catalogue(batch))
    name, loss = model.main_loss(encoded, loss_rows(batch.targets, seen, shares))
    users, items = encoded.users.vectors[:, 0], model.item_rows()[:, 0]
    counts = torch.arange(N_ITEMS).double() + 1
    counts[0] = 0
    scores = (users @ items.T - (counts / counts.sum()).log()).exp()
    expected = 0
    for row, target, share in pairs:
        window, other = (0, 1) if row < 2 else (1, 0)
        hidden = {*PLACES[window], *([5] if kind == "seen" and row == 2 else [])}
        others = sum(scores[row, item] for item in PLACES[other] if item not in hidden)
        own = scores[row, target]
        expected -= share * torch.log(own / (own + others)).item() / 3
    assert name == "in_batch"
    assert loss.item() == pytest.approx(expected, rel=1e-10)


@torch.no_grad()
def test_a_user_of_every_item_trains_no_negative():
    model = build("bce")
    batch = MoRecBatch(**BATCH, negatives=torch.tensor([4, 0, 7]))
    batch = batch.replace(wanted=np.arange(N_ITEMS))
    encoded = model(batch, model.training_catalogue(batch))
    _, loss = model.main_loss(encoded, loss_rows(batch.targets))
    scores = encoded.users.vectors[:, 0] @ model.item_rows()[:, 0].T
    own = scores[torch.arange(3), batch.targets]
    negative = torch.stack([scores[0, 4], scores[2, 7]])
    expected = -(torch.sigmoid(own).log().sum() + torch.sigmoid(-negative).log().sum()) / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
