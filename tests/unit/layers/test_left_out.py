"""Items that are no candidates: of a loss, of a sample, of a ranking."""

import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.ranking import Alive
from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.scorers import InnerProducts, UserRows

LEFT_OUT = torch.tensor([2, 6])
KEPT = [0, 1, 3, 4, 5]


class OtherScorer:
    """Inner products by another name: the loss is then made block by block."""

    part = "other"

    def prepare(self, users, catalogue):
        return users

    def scores(self, users, candidates):
        return InnerProducts().scores(users, candidates)


@pytest.mark.parametrize("scorer", [InnerProducts(), OtherScorer()])
def test_a_loss_without_some_items_is_that_of_the_others(scorer):
    torch.manual_seed(3)
    users = torch.randn(4, 1, 5, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(7, 1, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 3, 5, 4])
    catalogue = Catalogue(rows, scorer=scorer, left_out=LEFT_OUT)
    found = catalogue.loss(UserRows(users), loss_rows(targets))
    kept = torch.tensor([KEPT.index(target) for target in targets])
    expected = F.cross_entropy(users[:, 0] @ rows[KEPT, 0].T, kept)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, [users, rows])
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, [users, rows]))
    assert not gradients[1][LEFT_OUT].any()
    # They are scored and ranked all the same.
    scores = catalogue.scores(UserRows(users))
    torch.testing.assert_close(scores, users[:, 0] @ rows[:, 0].T)


def test_a_sample_never_holds_what_is_left_out():
    sampler = NegativeSampler(torch.tensor([0, 3, 1, 0, 0]), torch.tensor([2, 4]))
    drawn = sampler(2000)
    assert set(drawn.tolist()) == {1, 3}
    # Items 1 and 3 weigh 4 and 1 of 5.
    expected = torch.tensor([4 / 5, 1 / 5]).log() + torch.tensor(2.0).log()
    torch.testing.assert_close(sampler.log_expected(torch.tensor([1, 3])), expected)


def test_ranks_among_items_that_are_alive():
    torch.manual_seed(0)
    users, rows = torch.randn(50, 1, 3), torch.randn(9, 1, 3)
    targets, moments = torch.randint(1, 9, (50,)), torch.randint(0, 10, (50,))
    since = torch.randint(0, 10, (9,))
    include, _ = Catalogue(rows).ranks(UserRows(users), targets, alive=Alive(since, moments))
    scores = users[:, 0] @ rows[:, 0].T
    for row in range(50):
        target = int(targets[row])
        others = [item for item in range(1, 9) if item != target and since[item] < moments[row]]
        better = sum(bool(scores[row, item] > scores[row, target]) for item in others)
        assert include[row] == 1 + better
