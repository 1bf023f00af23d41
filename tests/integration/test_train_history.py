"""``train_history: exclude``: the losses against plain ones with the seen items struck out."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = pytest.mark.integration
START, SPAN = 1_600_000_000, 10**6  # each user has a span of time alone


L = 4  # far below the longest history


@pytest.fixture(scope="module")
def long_path(toy_path, tmp_path_factory):
    """The toy items, taken at random and again by histories of up to 20, no two times the same."""
    folder = tmp_path_factory.mktemp("long") / "data"
    shutil.copytree(toy_path, folder)
    random = np.random.default_rng(11)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(40):
        times = START + SPAN * user + 50 * np.arange(random.integers(3, 21))
        items = random.integers(15, size=len(times))
        rows = [f"u{user}\tB{item:03d}\t{time}" for item, time in zip(items, times, strict=True)]
        lines += random.permutation(rows).tolist()
    (folder / "toy" / "toy.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def read_histories(folder):
    """Times and item tokens of each user by time, from the file."""
    lines = (folder / "toy" / "toy.inter").read_text(encoding="utf-8").split("\n")[1:-1]
    rows = sorted((int(time), item) for _, item, time in (line.split("\t") for line in lines))
    histories = {}
    for time, item in rows:
        histories.setdefault((time - START) // SPAN, []).append((time, item))
    return histories


def open_model(folder, tmp_path, **overrides):
    settings = {
        **QUICK_HM4SR,
        "train_history": "exclude",
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "MAX_ITEM_LIST_LENGTH": L,
        "data_path": str(folder),
        "use_gpu": False,
        **overrides,
    }
    plan = compose(
        "HM4SR",
        "toy",
        overrides=settings,
    )
    session = build_parts(plan, tmp_path)
    batch = next(iter(session.train_data))
    return session.model.double(), batch, rows_of(session, batch, folder)


def rows_of(session, batch, folder):
    """Targets of a batch and the set of all items before each, read from the file."""
    dataset, histories = session.train_data._dataset, read_histories(folder)
    after, wanted = [], []  # the time of the interaction before each target, and the target
    for times, length, row in zip(
        batch["timestamp_list"].tolist(),
        batch["item_length"].tolist(),
        batch[TARGET_LIST].tolist() if TARGET_LIST in batch.columns else batch["item_id"].tolist(),
        strict=True,
    ):
        if isinstance(row, int):
            row = [0] * (length - 1) + [row]
        after += [time for time, target in zip(times, row, strict=False) if target]
        wanted += [target for target in row if target]
    before = []
    for time, target in zip(after, wanted, strict=True):
        history = histories[(time - START) // SPAN]
        place = 1 + [moment for moment, _ in history].index(time)
        assert dataset.token2id("item_id", history[place][1]) == target
        before.append({int(dataset.token2id("item_id", item)) for _, item in history[:place]})
    assert max(map(len, before)) > 2 * L
    return wanted, before


def encode(model, batch):
    return model(model.read(batch, train=True))


@pytest.mark.parametrize("mode", ["prefix", "sequence"])
def test_seen_items_are_no_candidates_of_the_softmax(mode, long_path, tmp_path):
    model, batch, (targets, before) = open_model(long_path, tmp_path, train_mode=mode)
    loss = model.named_losses(batch)["cross_entropy"]
    loss.backward()
    gradient = model.item_embedding.weight.grad.clone()
    model.zero_grad()
    encoded = encode(model, batch)
    scores = encoded.users.vectors.flatten(1) @ encoded.catalogue.table().T
    struck = torch.zeros_like(scores)
    for row, (target, seen) in enumerate(zip(targets, before, strict=True)):
        struck[row, list(seen - {target})] = -torch.inf
    assert struck.isinf().sum() > 2 * len(targets)
    expected = F.cross_entropy(scores + struck, torch.tensor(targets))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.item_embedding.weight.grad, gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("mode", ["prefix", "sequence"])
def test_rows_whose_target_was_seen_are_no_negatives(mode, long_path, tmp_path):
    model, batch, (targets, before) = open_model(long_path, tmp_path, train_mode=mode)
    loss = model.named_losses(batch)["id_contrastive"]
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


def test_the_items_before_a_target_equal_those_that_the_ranking_leaves_out(long_path, tmp_path):
    model, batch, (targets, before) = open_model(long_path, tmp_path, train_mode="prefix")
    pairs = model.read(batch, train=True).seen.pairs
    expected = [
        (row, item)
        for row, (target, seen) in enumerate(zip(targets, before, strict=True))
        for item in seen - {target}
    ]
    # Each item once, however often it was taken.
    assert sorted(map(tuple, pairs.tolist())) == sorted(expected)


def test_seen_items_of_a_sample_are_no_candidates(long_path, tmp_path):
    n_negatives = 40
    model, batch, (targets, before) = open_model(
        long_path, tmp_path, train_mode="sequence", n_negatives=n_negatives
    )
    torch.manual_seed(3)
    loss = model.named_losses(batch)["cross_entropy"]
    torch.manual_seed(3)
    drawn = model.sampler(n_negatives)
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
