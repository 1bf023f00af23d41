"""``train_history: exclude``: the losses against plain ones with the seen items struck out."""

import pytest
import torch
import torch.nn.functional as F
from toydata import QUICK_HM4SR

from recbole_hm4sr.config import build_config
from recbole_hm4sr.data.sequence_loader import TARGET_LIST
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.model.hm4sr import HM4SR
from recbole_hm4sr.model.hm4sr_settings import HM4SRSettings
from recbole_hm4sr.session import open_session

pytestmark = pytest.mark.integration


def open_model(toy_path, tmp_path, **overrides):
    settings = {
        **QUICK_HM4SR,
        "train_history": "exclude",
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "data_path": str(toy_path),
        "use_gpu": False,
        **overrides,
    }
    config = build_config(
        HM4SR,
        "toy",
        settings_class=HM4SRSettings,
        overrides=settings,
        checkpoint_dir=tmp_path / "checkpoint",
    )
    session = open_session(config, tmp_path, HM4SR)
    return session.model.double(), next(iter(session.train_data))


def rows_of(model, batch, mode):
    """Targets of a batch and the set of items before each, read from the padded lists."""
    items = batch[model.ITEM_SEQ].tolist()
    if mode == "prefix":
        return batch[model.POS_ITEM_ID].tolist(), [set(row) - {0} for row in items]
    targets, before = [], []
    for row, wanted in zip(items, batch[TARGET_LIST].tolist(), strict=True):
        for place, target in enumerate(wanted):
            if target:
                targets.append(target)
                before.append(set(row[: place + 1]))
    return targets, before


def encode(model, batch):
    return model(model.read(batch, train=True))


@pytest.mark.parametrize("mode", ["prefix", "sequence"])
def test_seen_items_are_no_candidates_of_the_softmax(mode, toy_path, tmp_path):
    model, batch = open_model(toy_path, tmp_path, train_mode=mode)
    loss = model.named_losses(batch)["cross_entropy"]
    loss.backward()
    gradient = model.item_embedding.weight.grad.clone()
    model.zero_grad()
    encoded = encode(model, batch)
    scores = encoded.users.vectors.flatten(1) @ encoded.catalogue.table().T
    targets, before = rows_of(model, batch, mode)
    struck = torch.zeros_like(scores)
    for row, (target, seen) in enumerate(zip(targets, before, strict=True)):
        struck[row, list(seen - {target})] = -torch.inf
    assert struck.isinf().sum() > 2 * len(targets)
    expected = F.cross_entropy(scores + struck, torch.tensor(targets))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.item_embedding.weight.grad, gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("mode", ["prefix", "sequence"])
def test_rows_whose_target_was_seen_are_no_negatives(mode, toy_path, tmp_path):
    model, batch = open_model(toy_path, tmp_path, train_mode=mode)
    loss = model.named_losses(batch)["id_contrastive"]
    targets, before = rows_of(model, batch, mode)
    users = F.normalize(encode(model, batch).users.vectors[:, 0], dim=1)
    own = F.normalize(model.item_embedding.weight[targets], dim=1)
    logits = users @ own.T / model.settings.id_temperature
    for row, seen in enumerate(before):
        for other, target in enumerate(targets):
            if other != row and (target in seen or target == targets[row]):
                logits[row, other] = -torch.inf
    expected = F.cross_entropy(logits, torch.arange(len(targets)))
    expected = model.settings.id_contrastive_weight * expected
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_seen_items_of_a_sample_are_no_candidates(toy_path, tmp_path):
    n_negatives = 40
    model, batch = open_model(toy_path, tmp_path, train_mode="sequence", n_negatives=n_negatives)
    torch.manual_seed(3)
    loss = model.named_losses(batch)["cross_entropy"]
    torch.manual_seed(3)
    drawn = model.sampler(n_negatives)
    targets, before = rows_of(model, batch, "sequence")
    table = model.item_rows(torch.arange(model.n_items)).flatten(1)
    # The table of all items is not resident here.
    batch_read = model.read(batch, train=True)
    users = model(batch_read, Catalogue(table.unflatten(1, (len(model.streams), -1)))).users.vectors
    total = 0.0
    for user, target, seen in zip(users.flatten(1), targets, before, strict=True):
        kept = torch.tensor([item for item in drawn.tolist() if item not in seen | {target}])
        scores = table[kept] @ user - model.sampler.log_probability[kept].double()
        own = table[target] @ user
        every = torch.cat([own[None], scores - torch.tensor(n_negatives).double().log()])
        total = total + every.logsumexp(0) - own
    torch.testing.assert_close(loss, total / len(targets), rtol=1e-6, atol=0)
