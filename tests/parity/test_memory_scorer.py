"""Losses and gradients of the memory's scorer equal recorded numbers; scores equal dense forms."""

import numpy as np
import pytest
import torch
from test_memory import DAY, RECORDED, SETS, last_ten, log_of, memory_of, training_part

from recbole_hm4sr.layers import softmax
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.memory_scorer import MemoryScorer, relation_names
from recbole_hm4sr.layers.sampled_catalogue import SampledCatalogue
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.softmax import TargetShares

pytestmark = pytest.mark.parity

NAMES = relation_names((30, 180), ("text",), popularity=True)


@pytest.fixture(autouse=True)
def few_rows_a_block(monkeypatch):
    """Several blocks of a loss, so that entries find theirs."""
    monkeypatch.setitem(softmax.SCORES_AT_A_TIME, "cpu", 32 * 7)
    monkeypatch.setattr(softmax, "_BLOCK_SCORES", 100)


def scorer_of(name, weights="situation"):
    memory = memory_of(name, training_part(log_of(name)))
    scorer = MemoryScorer(memory, names=NAMES, weights=weights, gap=SETS[name][1]).double()
    with torch.no_grad():
        for parameter in ("alpha", "w", "b"):
            getattr(scorer, parameter).copy_(torch.from_numpy(RECORDED[f"{name}/{parameter}"]))
    return scorer


def side_of(name, when, part=""):
    log, rows = log_of(name), RECORDED[f"{name}/rows{part}"]
    moments = torch.from_numpy(RECORDED[f"{name}/{when}/T{part}"])
    return {
        "last_items": last_ten(log.items, log, rows),
        "last_times": last_ten(log.times, log, rows),
        "lengths": torch.from_numpy(np.minimum(rows[:, 1], SETS[name][3])),
        "moments": moments,
        "known_until": moments,
    }


def rows_of(name):
    """The recorded dense scores as vectors, whose items are the identity."""
    vectors = torch.from_numpy(RECORDED[f"{name}/d"]).clone().requires_grad_()
    return vectors, torch.eye(vectors.shape[1], dtype=torch.float64)[:, None]


def shares_of(table):
    pairs = table.nonzero()
    begins = np.searchsorted(pairs[:, 0].numpy(), np.arange(len(table) + 1))
    return TargetShares(pairs, table[pairs[:, 0], pairs[:, 1]], begins)


def dense_scores(name, when, scorer):
    m, z = (torch.from_numpy(RECORDED[f"{name}/{when}/{key}"]) for key in ("m", "z"))
    weights = scorer.alpha * (z @ scorer.w.T + scorer.b).exp()
    return torch.from_numpy(RECORDED[f"{name}/d"]) + torch.einsum("nr,nri->ni", weights, m)


@pytest.mark.parametrize("when", ["target", "last"])
@pytest.mark.parametrize("name", SETS)
def test_loss_and_gradients_against_the_targets_of_a_visit(name, when):
    scorer, (vectors, items) = scorer_of(name), rows_of(name)
    kept = []
    weights = scorer.relation_weights

    def keep(users):
        kept.append(weights(users))
        kept[-1].retain_grad()
        return kept[-1]

    scorer.relation_weights = keep
    table = torch.from_numpy(RECORDED[f"{name}/Y"])
    rows = loss_rows(table.argmax(dim=1), shares=shares_of(table))
    users = UserRows(vectors[:, None], side_of(name, when))
    loss = Catalogue(items, scorer=scorer).loss(users, rows)
    loss.backward()
    where = f"{name}/{when}"
    found = {f"grad_{n}": getattr(scorer, n).grad for n in ("alpha", "w", "b")}
    found |= {"grad_d": vectors.grad, "a": kept[0].detach(), "grad_a": kept[0].grad}
    found["loss"] = loss.detach()
    compared = [key for key in found if f"{where}/{key}" in RECORDED]
    assert len(compared) == (7 if when == "target" else 4)
    for key in compared:
        expected = RECORDED[f"{where}/{key}"]
        np.testing.assert_allclose(found[key], expected, rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", SETS)
def test_one_target_a_row_is_a_set_of_one(name):
    scorer, (vectors, items) = scorer_of(name), rows_of(name)
    targets = torch.from_numpy(RECORDED[f"{name}/Y"]).argmax(dim=1)
    users = UserRows(vectors[:, None], side_of(name, "target"))
    catalogue = Catalogue(items, scorer=scorer)
    one = catalogue.loss(users, loss_rows(targets))
    alone = shares_of(torch.nn.functional.one_hot(targets, len(items)).double())
    many = catalogue.loss(users, loss_rows(targets, shares=alone))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_scores_parts_ranks_and_best_items(name):
    scorer, (vectors, items) = scorer_of(name), rows_of(name)
    expected = dense_scores(name, "target", scorer).detach()[:, 1:]
    users = UserRows(vectors.detach()[:, None], side_of(name, "target"))
    catalogue = Catalogue(items, scorer=scorer)
    with torch.no_grad():
        np.testing.assert_allclose(catalogue.scores(users)[:, 1:], expected, atol=1e-12)
        some = torch.tensor([5, 3, 5])
        parts = catalogue.parts(users, some)
        assert parts.shape[2] == 1 + len(NAMES)
        np.testing.assert_allclose(parts.sum(dim=2), expected[:, some - 1], atol=1e-12)
        own = some.expand(len(expected), -1)
        np.testing.assert_allclose(catalogue.scores(users, own), expected[:, some - 1], atol=1e-12)
        targets = torch.full((len(expected),), 4)
        ranks, _ = catalogue.ranks(users, targets)
        better = (expected > expected[:, 3:4]).sum(dim=1) + 1
        np.testing.assert_array_equal(ranks, better)
        values, _ = catalogue.top(users, 3)
        np.testing.assert_allclose(values, expected.topk(3).values, atol=1e-12)


def test_sampled_loss_against_a_plain_one():
    name = "again_gap"
    scorer, (vectors, items) = scorer_of(name), rows_of(name)
    table = torch.from_numpy(RECORDED[f"{name}/Y"])
    drawn = torch.tensor([3, 7, 3, 1, 9])
    log_expected = torch.tensor([0.1, -0.4, 0.1, 0.3, -1.0], dtype=torch.float64)
    catalogue = SampledCatalogue(
        rows=items,
        items=torch.arange(len(items)),
        scorer=scorer,
        drawn=drawn,
        log_expected=log_expected,
    )
    users = UserRows(vectors[:, None], side_of(name, "target"))
    rows = loss_rows(table.argmax(dim=1), shares=shares_of(table))
    scores, expected = dense_scores(name, "target", scorer), []
    for row, target in zip(scores, table, strict=True):
        own = row[target > 0]
        others = [
            row[j] - log_q for j, log_q in zip(drawn, log_expected, strict=True) if not target[j]
        ]
        total = torch.cat([own, torch.stack(others) if others else own[:0]]).logsumexp(0)
        expected.append(total - own.mean())
    found = catalogue.loss(users, rows)
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "trained"),
    [("equal", []), ("learned", ["alpha"]), ("situation", ["alpha", "w", "b"])],
)
def test_what_is_trained_by_the_kind_of_weights(weights, trained):
    scorer = MemoryScorer(
        memory_of("once", training_part(log_of("once"))), names=NAMES, weights=weights, gap=DAY
    )
    assert scorer.alpha.tolist() == pytest.approx([1.6] * 12 + [1.0, 0.1])
    assert [n for n, p in scorer.named_parameters() if p.requires_grad] == trained
