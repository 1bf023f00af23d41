"""Scorers through the catalogue, against dense forms: losses, gradients, ranks and best items."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scorers import DummyMemory, SoftmaxMix

from recbole_hm4sr.base.errors import TrainingError
from recbole_hm4sr.layers import catalogue as catalogue_module
from recbole_hm4sr.layers import ranking, softmax
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.sampled_catalogue import SampledCatalogue
from recbole_hm4sr.layers.scorers import InnerProducts, UserRows
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.similarity import Dot, ScaledCosine

N_USERS, N_ITEMS, N_MODALITIES, SIZE = 7, 23, 2, 5
WIDTH = 4
KINDS = ("products", "memory", "mix")


class CountingCatalogue(Catalogue):
    """Remembers the largest block of scores that was made."""

    largest = 0

    def block(self, users, items):
        scores = super().block(users, items)
        type(self).largest = max(self.largest, scores.numel())
        return scores


@pytest.fixture
def small_blocks(monkeypatch):
    """Three users and four items a block of ranks, seven and four of a loss."""
    monkeypatch.setattr(ranking, "block_shape", lambda *_: (3, WIDTH))
    monkeypatch.setattr("recbole_hm4sr.layers.ranked_rows.block_shape", lambda *_: (3, WIDTH))
    monkeypatch.setattr(softmax, "_BLOCK_SCORES", N_USERS * WIDTH)
    CountingCatalogue.largest = 0


def draw():
    random = torch.Generator().manual_seed(4)
    shape = {"generator": random, "dtype": torch.float64}
    vectors = torch.randn(N_USERS, N_MODALITIES, SIZE, **shape)
    rows = torch.randn(N_ITEMS, N_MODALITIES, SIZE, **shape)
    last = torch.randint(0, N_ITEMS, (N_USERS, 2), generator=random)
    last[0] = 0  # a user without a history
    targets = torch.randint(1, N_ITEMS, (N_USERS,), generator=random)
    seen = torch.rand(N_USERS, N_ITEMS, generator=random) < 0.3
    targets[0] = 4 * WIDTH
    seen[0, : 3 * WIDTH] = True  # whole blocks of a user
    seen[torch.arange(N_USERS), targets] = False
    seen[:, 0] = False
    return vectors, rows, last, targets, seen


def make(kind):
    torch.manual_seed(8)
    scorers = {
        "products": InnerProducts,
        "memory": lambda: DummyMemory(N_ITEMS).double(),
        "mix": lambda: SoftmaxMix(N_MODALITIES).double(),
    }
    return scorers[kind]()


def dense(kind, scorer, vectors, rows, last):
    """Scores of all items from the definitions. ``[N, I]``."""
    each = torch.einsum("nmd,kmd->nkm", vectors, rows)
    if kind == "products":
        return each.sum(dim=2)
    if kind == "mix":
        shares = each.softmax(dim=1) * scorer.weights.softmax(dim=0)
        return shares.sum(dim=2).log()
    tables = scorer.sources @ scorer.follows.mT  # [R, I, I]: from an item to one after it
    tables = torch.cat([torch.zeros_like(tables[:, :1]), tables[:, 1:]], dim=1)
    memory = [scorer.strength[r] * tables[r][last[:, r]] for r in range(2)]
    return each.sum(dim=2) + memory[0] + memory[1]


def leaves(scorer, vectors, rows):
    parameters = list(scorer.parameters()) if isinstance(scorer, torch.nn.Module) else []
    return [vectors.clone().requires_grad_(), rows.clone().requires_grad_(), *parameters]


def check_equal(pairs, tolerance=1e-10):
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("products", [0, 32], ids=["looked up", "by product"])
@pytest.mark.parametrize("at_a_time", [1, 50, 10**6])
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_drawn_items_equal_the_dense_form(
    kind, is_shared, at_a_time, products, monkeypatch
):
    monkeypatch.setattr(catalogue_module, "_NUMBERS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(catalogue_module, "_PRODUCTS_A_LOOKUP", products)
    vectors, rows, last, targets, _ = draw()
    scorer = make(kind)
    one, other = leaves(scorer, vectors, rows), leaves(scorer, vectors, rows)
    shape = (6,) if is_shared else (N_USERS, 6)
    drawn = torch.randint(1, N_ITEMS, shape, generator=torch.Generator().manual_seed(1))
    users = UserRows(one[0], {"last_items": last})
    found = Catalogue(one[1], scorer=scorer).scores_beside(users, targets, drawn)
    scores = dense(kind, scorer, *other[:2], last)
    wanted = scores.gather(1, targets[:, None])[:, 0], scores.gather(1, drawn.expand(N_USERS, 6))
    check_equal(zip(found, wanted, strict=True))
    sums = [own.sum() + beside.square().sum() for own, beside in (found, wanted)]
    gradients = torch.autograd.grad(sums[0], one), torch.autograd.grad(sums[1], other)
    check_equal(zip(*gradients, strict=True))


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_the_dense_form(kind, excluded, small_blocks):
    vectors, rows, last, targets, seen = draw()
    scorer = make(kind)
    one, other = leaves(scorer, vectors, rows), leaves(scorer, vectors, rows)
    catalogue = CountingCatalogue(one[1], scorer=scorer)
    hidden = pairs_of_rows(seen.nonzero(), N_USERS) if excluded else None
    loss = catalogue.loss(UserRows(one[0], {"last_items": last}), loss_rows(targets, hidden))
    scores = dense(kind, scorer, *other[:2], last)
    scores = scores.masked_fill(seen, -torch.inf) if excluded else scores
    expected = F.cross_entropy(scores, targets)
    found = torch.autograd.grad(3 * loss, one), torch.autograd.grad(3 * expected, other)
    check_equal([(loss, expected), *zip(*found, strict=True)])
    assert CountingCatalogue.largest <= N_USERS * WIDTH
    if kind == "mix":
        assert scorer.largest_block == N_USERS * WIDTH


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_all_and_of_some_equal_the_dense_form(kind):
    vectors, rows, last, targets, _ = draw()
    scorer = make(kind)
    catalogue, users = Catalogue(rows, scorer=scorer), UserRows(vectors, {"last_items": last})
    expected = dense(kind, scorer, vectors, rows, last)
    own = torch.stack([targets, targets.flip(0)], dim=1)
    check_equal(
        [
            (catalogue.scores(users), expected),
            (catalogue.scores(users, targets), expected.gather(1, targets[:, None])[:, 0]),
            (catalogue.scores(users, own), expected.gather(1, own)),
            (catalogue.parts(users, own).sum(dim=2), expected.gather(1, own)),
            (catalogue.parts(users, targets).sum(dim=2), expected[:, targets]),
        ]
    )
    assert catalogue.parts(users, own).shape[2] == N_MODALITIES + (kind != "products")


def ranks_by_hand(scores, targets, seen):
    """Ranks one by one: padding is no candidate, equal scores in the order of the items."""
    found = []
    for row, target, out in zip(scores.tolist(), targets.tolist(), seen.tolist(), strict=True):
        order = sorted(range(1, len(row)), key=lambda item: (-row[item], item))
        shown = [item for item in order if not out[item]]
        found.append((order.index(target) + 1, shown.index(target) + 1))
    return [list(kind) for kind in zip(*found, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_and_best_items_without_all_scores_at_once(kind, small_blocks):
    vectors, rows, last, targets, seen = draw()
    scorer = make(kind)
    catalogue = CountingCatalogue(rows, scorer=scorer)
    users = UserRows(vectors, {"last_items": last})
    pairs = pairs_of_rows(seen.nonzero(), N_USERS)
    scores = dense(kind, scorer, vectors, rows, last).detach()
    found = [ranks.tolist() for ranks in catalogue.ranks(users, targets, pairs)]
    assert found == ranks_by_hand(scores, targets, seen)
    assert [r.tolist() for r in catalogue.ranks(users, targets)] == [found[0]] * 2
    for k in (1, 3, 9):
        values, items = catalogue.top(users, k, pairs)
        for row, out, own, best in zip(scores, seen, values, items.tolist(), strict=True):
            order = sorted(range(1, N_ITEMS), key=lambda item: (-row[item].item(), item))
            left = [item for item in order if not out[item]][:k]
            assert best[: len(left)] == left
            torch.testing.assert_close(own[: len(left)], row[left], rtol=1e-10, atol=1e-10)
    assert 0 < CountingCatalogue.largest <= 3 * WIDTH


@pytest.mark.parametrize("shape", [(3, 4), (2, 30), (64, 5), (64, 64)])
def test_equal_scores_are_ordered_by_item_wherever_a_block_ends(shape, monkeypatch):
    monkeypatch.setattr("recbole_hm4sr.layers.ranked_rows.block_shape", lambda *_: shape)
    random = torch.Generator().manual_seed(9)
    rows = torch.randint(-1, 2, (N_ITEMS, 1, 2), generator=random).float()
    vectors = torch.randint(-1, 2, (N_USERS, 1, 2), generator=random).float()
    vectors[0] = 0  # all items tie
    *_, targets, seen = draw()
    catalogue, pairs = Catalogue(rows), pairs_of_rows(seen.nonzero(), N_USERS)
    scores = vectors[:, 0] @ rows[:, 0].T
    found = [ranks.tolist() for ranks in catalogue.ranks(UserRows(vectors), targets, pairs)]
    assert found == ranks_by_hand(scores, targets, seen)
    values, items = catalogue.top(UserRows(vectors), N_ITEMS, pairs)
    for row, out, own, best in zip(scores.tolist(), seen, values, items, strict=True):
        order = sorted(range(1, N_ITEMS), key=lambda item: (-row[item], item))
        left = [item for item in order if not out[item]]
        assert best[: len(left)].tolist() == left
        assert torch.isneginf(own[len(left) :]).all()


def test_a_block_is_bounded_whatever_the_catalogue(monkeypatch):
    for n_users, n_items in ((1, 1), (5000, 10**4), (5000, 10**8), (1, 10**9)):
        users, items = ranking.block_shape(n_users, n_items, "cpu")
        assert 1 <= users <= n_users
        assert 1 <= items <= n_items
        assert users * items <= 2**26
    assert ranking.block_shape(5000, 10**4, "cpu") == (209, 10**4)  # 2^21 / 10^4
    assert ranking.block_shape(5000, 10**8, "cpu") == (64, 2**20)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("item", [3, 20])
def test_scores_that_are_no_numbers_are_refused(bad, item, small_blocks):
    vectors, rows, *_ = draw()
    rows[item] = bad
    targets = torch.full((N_USERS,), item)
    with pytest.raises(TrainingError, match="every score must be a number"):
        Catalogue(rows).ranks(UserRows(vectors), targets)


def test_a_partial_catalogue_names_items_by_their_ids():
    vectors, rows, _, _, _ = draw()
    held = torch.tensor([2, 5, 9, 14])
    catalogue, users = Catalogue(rows[held], held), UserRows(vectors)
    scores = dense("products", None, vectors, rows, None)[:, held]
    assert catalogue.top(users, 4)[1].tolist() == held[scores.argsort(1, descending=True)].tolist()
    targets = held[[0, 1, 2, 3, 3, 2, 1]]
    expected = 1 + (scores > scores.gather(1, torch.searchsorted(held, targets)[:, None])).sum(1)
    assert catalogue.ranks(users, targets)[0].tolist() == expected.tolist()


def test_a_stream_is_one_modality():
    vectors, rows, *_ = draw()
    stream = Catalogue(rows, scorer=make("mix")).stream(1)
    users = UserRows(vectors[:, 1:])
    check_equal([(stream.scores(users), vectors[:, 1] @ rows[:, 1].T)])
    assert stream.of(torch.tensor([4])).tolist() == rows[4:5, 1:].tolist()


def test_rows_of_users_are_split_and_changed_as_a_whole():
    vectors, _, last, _, _ = draw()
    users = UserRows(vectors, {"last_items": last})
    for part in (users.select(slice(2, 4)), users.select(torch.tensor([2, 3]))):
        assert torch.equal(part.vectors, vectors[2:4])
        assert torch.equal(part.side["last_items"], last[2:4])
    both = users.map(lambda values: torch.cat([values, values]))
    assert both.vectors.shape[0] == both.side["last_items"].shape[0] == 2 * N_USERS


def test_a_sampled_softmax_reads_the_same_scores():
    vectors, rows, last, targets, _ = draw()
    scorer = make("memory")
    drawn = torch.tensor([3, 8, 8, 20])
    log_expected = torch.tensor([0.1, -0.4, -0.4, 0.7], dtype=torch.float64)
    catalogue = SampledCatalogue(rows, scorer=scorer, drawn=drawn, log_expected=log_expected)
    loss = catalogue.loss(UserRows(vectors, {"last_items": last}), loss_rows(targets))
    scores = dense("memory", scorer, vectors, rows, last).detach().numpy()
    own = scores[np.arange(N_USERS), targets.numpy()]
    expected = []
    for row, target, score in zip(scores, targets.tolist(), own, strict=True):
        kept = drawn.numpy() != target
        others = np.exp(row[drawn.numpy()] - log_expected.numpy())[kept].sum()
        expected.append(np.log(np.exp(score) + others) - score)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_a_score_normalised_over_all_items_has_no_sampled_softmax():
    vectors, rows, *_, targets, _ = draw()
    sample = {"drawn": torch.tensor([3]), "log_expected": torch.zeros(1)}
    catalogue = SampledCatalogue(rows, scorer=make("mix"), **sample)
    with pytest.raises(ValueError, match="n_negatives must be 0"):
        catalogue.loss(UserRows(vectors), loss_rows(targets))


@pytest.mark.parametrize("scorer", KINDS)
def test_a_cosine_goes_through_every_door(scorer, small_blocks):
    vectors, rows, last, targets, seen = draw()
    made, similarity = make(scorer), ScaledCosine(0.2)
    catalogue = Catalogue(rows, similarity=similarity, scorer=made)
    users = UserRows(vectors, {"last_items": last})
    turned = F.normalize(vectors, dim=-1) / 0.2, F.normalize(rows, dim=-1)
    expected = dense(scorer, made, *turned, last)
    loss = catalogue.loss(users, loss_rows(targets))
    check_equal([(catalogue.scores(users), expected), (loss, F.cross_entropy(expected, targets))])
    pairs = pairs_of_rows(seen.nonzero(), N_USERS)
    found = [ranks.tolist() for ranks in catalogue.ranks(users, targets, pairs)]
    assert found == ranks_by_hand(expected.detach(), targets, seen)
    if scorer == "products":
        check_equal([(turned[0].flatten(1) @ catalogue.table().T, expected)])


@pytest.mark.parametrize("scorer", KINDS)
@pytest.mark.parametrize("n_padding", [1, 3])
def test_the_first_items_may_be_no_candidates_of_the_loss(scorer, n_padding, small_blocks):
    vectors, rows, last, targets, _ = draw()
    targets = targets.clamp(min=n_padding)
    made = make(scorer)
    catalogue = Catalogue(rows, scorer=made, n_padding=n_padding)
    expected = dense(scorer, made, vectors, rows, last)[:, n_padding:]
    loss = catalogue.loss(UserRows(vectors, {"last_items": last}), loss_rows(targets))
    check_equal([(loss, F.cross_entropy(expected, targets - n_padding))])


@pytest.mark.parametrize("scorer", KINDS)
def test_the_first_loss_of_a_cosine_has_its_gradient(scorer, small_blocks):
    vectors, rows, last, targets, _ = draw()
    made = make(scorer)
    gradients = []
    for is_dense in (False, True):
        given = rows.clone().requires_grad_()
        if is_dense:
            turned = F.normalize(vectors, dim=-1) / 0.2, F.normalize(given, dim=-1)
            loss = F.cross_entropy(dense(scorer, made, *turned, last), targets)
        else:
            catalogue = Catalogue(given, similarity=ScaledCosine(0.2), scorer=made)
            loss = catalogue.loss(UserRows(vectors, {"last_items": last}), loss_rows(targets))
        gradients.append(torch.autograd.grad(loss, given)[0])
    check_equal([gradients])


def test_items_are_mapped_once_by_a_catalogue():
    class Counting(Dot):
        calls = 0

        def items(self, x):
            type(self).calls += 1
            return x

    vectors, rows, _, targets, _ = draw()
    catalogue = Catalogue(rows, similarity=Counting())
    for use in (catalogue.scores, functools.partial(catalogue.top, k=3)):
        use(UserRows(vectors))
    catalogue.ranks(UserRows(vectors), targets)
    assert Counting.calls == 1
