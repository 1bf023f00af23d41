"""NT-Xent against its plain form, with rows of the same target and without."""

import pytest
import torch
import torch.nn.functional as F

from recbole_hm4sr.layers import nt_xent as module
from recbole_hm4sr.layers.nt_xent import nt_xent
from recbole_hm4sr.parallel.rows import GlobalRows

TARGETS = torch.tensor([4, 2, 4, 9])


def views():
    random = torch.Generator().manual_seed(3)
    return torch.randn(2, 4, 5, generator=random, dtype=torch.float64).requires_grad_()


def plain(first, second, *, masks, tau):
    z, targets = torch.cat([first, second]), TARGETS.repeat(2)
    logits, own = z @ z.T / tau, torch.arange(8)
    other = (own + 4) % 8
    hidden = targets[:, None] == targets if masks else torch.eye(8, dtype=torch.bool)
    hidden[own, other] = False
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), other)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("is_cosine", [False, True])
def test_it_is_the_plain_form(masks, is_cosine):
    ours, theirs = views(), views()
    ids = TARGETS if masks else None
    loss = nt_xent(*ours, temperature=0.5, is_cosine=is_cosine, ids=ids)
    sides = F.normalize(theirs, dim=-1) if is_cosine else theirs
    expected = plain(*sides, masks=masks, tau=0.5)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_one_row_has_no_negatives():
    loss = nt_xent(*views()[:, :1], temperature=1.0)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_rows_of_one_target_are_no_negatives():
    loss = nt_xent(*views(), temperature=1.0, ids=torch.tensor([7, 7, 7, 7]))
    assert loss.item() == pytest.approx(0, abs=1e-12)


class TwoProcesses(GlobalRows):
    """The rows of one of two processes, with what the other would send."""

    def gather(self, rows):
        return next(self.sent)


@pytest.mark.parametrize("masks", [False, True])
def test_the_mean_over_two_processes_is_the_loss_of_all_rows(masks, monkeypatch):
    first, second = views().detach()
    expected = plain(first, second, masks=masks, tau=1.0)
    losses = []
    for own in (slice(0, 3), slice(3, 4)):
        joined = TwoProcesses((3, 1), own.start, 2.0)
        object.__setattr__(joined, "sent", iter([first, second, TARGETS]))
        monkeypatch.setattr(module, "global_rows", lambda _, joined=joined: joined)
        ids = TARGETS[own] if masks else None
        losses.append(nt_xent(first[own], second[own], temperature=1.0, ids=ids))
    assert sum(losses).item() / 2 == pytest.approx(expected.item(), rel=1e-12)
