"""gSASRec's own: initial values, which negatives count, what its settings refuse."""

import math

import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.model.ids.gsasrec import gSASRec
from recbole_hm4sr.model.ids.gsasrec_settings import gSASRecSettings

N_ITEMS = 9
TARGETS = torch.tensor([4, 2])
SEEN = {0: {1, 2}, 1: {5}}


def build(n_items=N_ITEMS, **overrides):
    config = model_config("gSASRec", **{"hidden_size": 8, "n_negatives": 4, **overrides})
    return gSASRec(config, ArrayDataset(n_items)).double().eval()


def softplus(score):
    return math.log1p(math.exp(score))


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("excludes", [False, True])
def test_the_loss_counts_targets_but_not_excluded_items(is_shared, excludes, monkeypatch):
    model = build(share_negatives=is_shared, initializer_range=0.5)
    drawn = torch.tensor([2, 4, 5, 4] if is_shared else [[2, 4, 8, 1], [5, 5, 2, 7]])
    monkeypatch.setattr(model, "draw_negatives", lambda *_: drawn)
    batch = PackedBatch(
        items=torch.tensor([1, 2, 5]),
        times=torch.zeros(3, dtype=torch.int64),
        packing=build_packing(torch.tensor([2, 1]), 10),
    )
    encoded = model(batch)
    pairs = torch.tensor([(row, item) for row, items in SEEN.items() for item in sorted(items)])
    rows = loss_rows(TARGETS, pairs_of_rows(pairs, 2) if excludes else None)
    name, loss = model.main_loss(encoded, rows)
    scores = encoded.catalogue.scores(encoded.users).tolist()
    beta = 1 - 0.75 * (1 - 4 / 7)  # of 4 negatives among 8 items
    expected = 0
    for row, own in enumerate(drawn.expand(2, 4).tolist()):
        counted = [item for item in own if not (excludes and item in SEEN[row])]
        negative = sum(softplus(scores[row][item]) for item in counted)
        expected += (beta * softplus(-scores[row][TARGETS[row]]) + negative) / 5 / 2
    assert name == "gbce"
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("is_shared", "shape"), [(False, (7, 4)), (True, (4,))], ids=["own", "shared"]
)
def test_how_many_negatives_are_drawn(is_shared, shape):
    drawn = build(share_negatives=is_shared).draw_negatives(7)
    assert drawn.shape == shape


def test_tables_are_drawn_and_maps_are_as_torch_makes_them():
    torch.manual_seed(3)
    model = build(n_items=2000, hidden_size=64, initializer_range=0.3)
    for table in (model.item_embedding.weight, model.scored_embedding.weight):
        assert not table[0].any()
        # 2000 * 64 values: the standard deviation of their own is 0.3 / sqrt(2 * 128,000) = 6e-4.
        assert table[1:].std().item() == pytest.approx(0.3, abs=3e-3)
    for block in model.encoder.layers:
        for linear in (block.attention.query, block.inner):
            assert linear.weight.abs().max().item() == pytest.approx(1 / 8, rel=0.01)
            assert 0 < linear.bias.abs().max().item() <= 1 / 8


def test_tied_items_have_one_table():
    names = dict(build(tie_items=True).named_parameters())
    assert "item_embedding.weight" in names
    assert "scored_embedding.weight" not in names


def test_gbce_without_negatives_is_refused():
    message = r"n_negatives must be 1 or more with loss: gbce, got 0"
    with pytest.raises(ConfigError, match=message):
        read_settings({"n_negatives": 0}, gSASRecSettings)
    assert read_settings({"n_negatives": 0, "loss": "ce"}, gSASRecSettings).n_negatives == 0
