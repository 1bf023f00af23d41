"""Training on whole histories sees what training on prefixes sees."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.model.registry import MODELS
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = pytest.mark.integration
WHOLE = {"train_batch_size": 10**6, "MAX_ITEM_LIST_LENGTH": 12, "shuffle": False}


def session_of(toy_path, folder, train_mode, **overrides):
    entry = MODELS["HM4SR"]
    plan = compose(
        entry,
        "toy",
        overrides={
            **QUICK_HM4SR,
            "data_path": str(toy_path),
            "hidden_dropout_prob": 0.0,
            "attn_dropout_prob": 0.0,
            "train_mode": train_mode,
            **overrides,
        },
    )
    session = build_parts(plan, folder)
    session.model.double()
    return session


@pytest.mark.parametrize("visits", [1, 3])
def test_the_losses_of_all_samples_are_those_of_all_sequences(toy_path, tmp_path, visits):
    """In one batch of everything, cross-entropy and IDCL are means over the same targets."""
    gradients, losses = [], []
    for mode in ("prefix", "sequence"):
        settings = {**WHOLE, "passes_per_epoch": visits}
        session = session_of(toy_path, tmp_path / mode, mode, **settings)
        (batch,) = session.train_data
        named = session.model.train().named_losses(batch)
        chosen = torch.stack([named["cross_entropy"], named["id_contrastive"]])
        chosen.sum().backward()
        losses.append(chosen.detach())
        gradients.append({n: p.grad for n, p in session.model.named_parameters()})
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("visits", [1, 2, 4])
def test_the_same_targets_are_trained_in_both_modes(toy_path, tmp_path, visits):
    seen = []
    for mode in ("prefix", "sequence"):
        settings = {"MAX_ITEM_LIST_LENGTH": 4, "passes_per_epoch": visits}
        session = session_of(toy_path, tmp_path / mode, mode, **settings)
        name = "item_id" if mode == "prefix" else TARGET_LIST
        targets = torch.cat([batch[name].flatten() for batch in session.train_data])
        seen.append(torch.bincount(targets[targets > 0], minlength=25).tolist())
    assert seen[0] == seen[1]


def rows_of(batch, targets):
    """Each sample as its items and the numbers of targets among the positions after them."""
    lists = zip(batch["item_id_list"].tolist(), batch["item_length"].tolist(), strict=True)
    return [(tuple(items[:n]), row) for (items, n), row in zip(lists, targets, strict=True)]


def test_as_many_visits_as_targets_are_recboles_samples(toy_path, tmp_path):
    """Each visit then trains one target, after its own prefix: histories fit in L = 12."""
    settings = {**WHOLE, "passes_per_epoch": 12}
    (prefixes,) = session_of(toy_path, tmp_path / "p", "prefix", **settings).train_data
    (visits,) = session_of(toy_path, tmp_path / "s", "sequence", **settings).train_data
    assert ((visits[TARGET_LIST] > 0).sum(dim=1) == 1).all()
    targets = visits[TARGET_LIST].amax(dim=1).tolist()
    expected = rows_of(prefixes, prefixes["item_id"].tolist())
    assert sorted(rows_of(visits, targets)) == sorted(expected)


def test_a_history_deals_its_targets_out_in_turn(toy_path, tmp_path):
    settings = {**WHOLE, "passes_per_epoch": 3}
    loader = session_of(toy_path, tmp_path, "sequence", **settings).train_data
    batch = loader.collate_fn(range(loader.sample_size))
    trained = batch[TARGET_LIST] > 0
    for history in range(len(loader._segments.begins)):
        own = trained[loader._segment_of_visit == history]
        n_targets = int(own.sum())
        # Position p has target p: the first visit takes 0, 3, 6 .., the second 1, 4, 7 ..
        expected = [list(range(first, n_targets, 3)) for first in range(min(3, n_targets))]
        assert [row.nonzero().flatten().tolist() for row in own] == expected


@pytest.mark.parametrize("visits", [1, 3])
def test_a_step_has_as_many_targets_in_both_modes(toy_path, tmp_path, visits):
    settings = {"train_batch_size": 64, "passes_per_epoch": visits}
    session = session_of(toy_path, tmp_path, "sequence", **settings)
    sizes = [int((batch[TARGET_LIST] > 0).sum()) for batch in session.train_data]
    assert sum(sizes) / len(sizes) == pytest.approx(64, rel=0.2)


def test_categories_and_placeholders_are_trained_on_sequences(toy_path, tmp_path):
    session = session_of(toy_path, tmp_path, "sequence")
    batch = next(iter(session.train_data))
    named = session.model.train().named_losses(batch)
    # Untrained, a category is a coin toss; contrast is a choice among the targets of the batch.
    assert named["category_prediction"].item() == pytest.approx(0.693, abs=0.05)
    assert 0 < named["placeholder_contrastive"] < torch.tensor(64 * 1.5).log() + 0.5


def test_an_item_that_follows_changes_no_earlier_user_vector(toy_path, tmp_path):
    session = session_of(toy_path, tmp_path, "sequence")
    model = session.model.eval()
    batch = next(iter(session.train_data))
    row = int(batch["item_length"].argmax())
    one = Interaction({name: values[[row]] for name, values in batch.interaction.items()})
    other = Interaction({name: values.clone() for name, values in one.interaction.items()})
    last = int(one["item_length"]) - 1
    other["item_id_list"][0, last] = one["item_id_list"][0, last] % 24 + 1
    with torch.no_grad():
        users = [model(model.read(x, train=True)).users.vectors for x in (one, other)]
    assert torch.equal(users[0][:-1], users[1][:-1])
    assert not torch.equal(users[0][-1], users[1][-1])


def test_scores_follow_weights_that_a_fused_optimiser_has_changed(toy_path, tmp_path):
    """Such an optimiser leaves the version numbers of the weights as they are."""
    session = session_of(toy_path, tmp_path, "sequence")
    model, batch = session.model, next(iter(session.train_data))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        before = model.eval().full_sort_predict(batch)
    model.calculate_loss(batch).backward()
    optimiser.step()
    with torch.no_grad():
        after = model.full_sort_predict(batch)
        model._cache.forget()
        assert torch.equal(after, model.full_sort_predict(batch))
    assert not torch.equal(after, before)
