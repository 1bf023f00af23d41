"""One process alone is left as it is; shares and weights of several are arithmetic."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.losses import category_prediction, info_nce, loss_rows
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.softmax import linear_cross_entropy, sampled_cross_entropy
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.processes import own_device
from recbole_hm4sr.parallel.rows import GlobalRows, gather_rows, global_rows, own_share
from recbole_hm4sr.parallel.training import (
    JoinedLosses,
    SharedCollate,
    own_batches,
    rows_of_step,
    seed_epoch,
    share_batches,
)

PLACES = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


class Loader:
    """What a loader of RecBole says of its batches."""

    sample_size, step, num_workers = 10, 4, 0

    def __init__(self):
        self.collate_fn = list


@pytest.fixture
def as_process(monkeypatch):
    """Be one of several processes, without the others."""

    def set_place(number, count):
        monkeypatch.setattr("recbole_hm4sr.parallel.rows.rank", lambda: number)
        monkeypatch.setattr("recbole_hm4sr.parallel.rows.world_size", lambda: count)
        monkeypatch.setattr("recbole_hm4sr.parallel.training.world_size", lambda: count)

    return set_place


def test_without_torchrun_there_is_one_process_and_nothing_is_exchanged(monkeypatch, tmp_path):
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    values = torch.tensor([1.0, 2.0])
    assert processes.started_processes() == processes.world_size() == 1
    assert processes.agree_on_folder(lambda: tmp_path) == tmp_path
    assert processes.job_name() is None
    with processes.processes(torch.device("cpu"), timeout_seconds=1):
        assert processes.is_first()
        assert processes.broadcast_object("mine") == "mine"
        assert gather_rows(values) is values
        assert processes.mean_over_processes(values) is values
        processes.require_same("a", "letters")
        processes.barrier()
    joined = global_rows(5)
    assert joined == GlobalRows((5,), 0, 5)
    assert joined.gather(values) is values
    loader = Loader()
    share_batches(loader)
    assert loader.collate_fn is list
    assert own_batches(loader) == (loader, slice(None))


def test_torchrun_says_how_many_there_are_and_who_writes(monkeypatch):
    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    assert processes.started_processes() == 3
    assert not processes.started_as_first()
    monkeypatch.setenv("RANK", "0")
    assert processes.started_as_first()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9])
def test_shares_are_disjoint_cover_all_and_differ_by_one_at_most(as_process, n):
    parts = []
    for number in range(4):
        as_process(number, 4)
        parts.append(list(range(n))[own_share(n)])
    assert [thing for part in parts for thing in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_smaller_than_the_processes_is_made_whole_by_each(as_process):
    as_process(1, 3)
    collate = SharedCollate(list)
    assert collate([5, 6, 7, 8]) == [6]  # of 4: one, one, two
    assert collate([5, 6]) == [5, 6]


def test_the_last_step_has_the_rest():
    assert [rows_of_step(Loader(), step) for step in (1, 2, 3)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, [[[0, 1, 2, 3]], [[4, 5, 6, 7], [8, 9]]]),
        (4, [[], [[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9]]]),
    ],
)
def test_evaluation_keeps_the_batches_of_one_process(as_process, count, expected):
    for number in range(count):
        as_process(number, count)
        batches, own = own_batches(Loader())
        assert isinstance(batches, DataLoader)
        assert list(batches) == expected[number]
        assert list(range(10))[own] == [sample for batch in expected[number] for sample in batch]


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    for name, value in {**PLACES, "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert own_device(cpu) == cpu
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(cuda) == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"must be at most the number of GPUs, 1, got process 2"):
        own_device(cuda)


def test_the_mean_over_processes_is_the_loss_of_all_rows(monkeypatch):
    """Two processes with 3 and 5 rows, one after the other, candidates and all."""
    users, items = torch.randn(8, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 1, 4, 5, 0, 0])
    parts = [slice(0, 3), slice(3, 8)]
    entropy = [linear_cross_entropy(users[p], items, targets[p], divisor=4) for p in parts]
    expected = linear_cross_entropy(users, items, targets)
    assert sum(entropy).item() / 2 == pytest.approx(expected.item(), rel=1e-12)

    candidates = torch.randn(8, 4, dtype=torch.float64)
    seen = torch.tensor([[0, 4], [2, 0], [4, 1], [7, 5], [7, 9]])
    expected = info_nce(
        users, candidates, loss_rows(targets, pairs_of_rows(seen, 8)), temperature=0.5
    )

    class Joined(GlobalRows):
        def gather(self, rows):
            whole = targets if rows.dtype == torch.int64 else F.normalize(candidates, dim=-1)
            torch.testing.assert_close(whole[self.first : self.first + len(rows)], rows)
            return whole

    contrast = []
    for p in parts:
        joined = Joined((3, 5), p.start, 4)
        monkeypatch.setattr("recbole_hm4sr.layers.losses.global_rows", lambda n, it=joined: it)
        own = (seen[:, 0] >= p.start) & (seen[:, 0] < p.stop)
        rows = loss_rows(
            targets[p], pairs_of_rows(seen[own] - torch.tensor([p.start, 0]), p.stop - p.start)
        )
        contrast.append(info_nce(users[p], candidates[p], rows, temperature=0.5))
    assert sum(contrast).item() / 2 == pytest.approx(expected.item(), rel=1e-12)

    drawn, log_expected = candidates[:4], torch.randn(4, dtype=torch.float64)
    excluded = torch.zeros(8, 4, dtype=torch.bool)
    excluded[1, 2] = True
    own = (users * items[targets]).sum(dim=1)
    sampled = [
        sampled_cross_entropy(
            own[p],
            users[p] @ drawn.T,
            log_expected=log_expected,
            excluded=excluded[p],
            divisor=4,
        )
        for p in parts
    ]
    expected = sampled_cross_entropy(
        own, users @ drawn.T, log_expected=log_expected, excluded=excluded
    )
    assert sum(sampled).item() / 2 == pytest.approx(expected.item(), rel=1e-12)

    flags, counts = torch.tensor([[1, 0], [0, 1]]), torch.tensor([3, 5])
    logits = torch.randn(2, 2, dtype=torch.float64)
    each = [
        category_prediction(logits[[row]], flags[[row]], counts[[row]], divisor=4) for row in (0, 1)
    ]
    expected = category_prediction(logits, flags, counts)
    assert sum(each).item() / 2 == pytest.approx(expected.item(), rel=1e-12)


def test_losses_of_unequal_shares_are_weighted_by_their_samples(as_process):
    """Ten rows over three processes, 3, 3 and 4: the mean over them is that of the ten."""
    joined = JoinedLosses(torch.nn.Linear(1, 1), lambda batch: {"loss": batch.mean()})
    rows, found = torch.arange(10.0) ** 2, []
    for number in range(3):
        as_process(number, 3)
        found.append(joined._losses_of_share(rows[own_share(10)], 10)["loss"])
    assert torch.stack(found).mean().item() == pytest.approx(rows.mean().item())


def test_each_process_and_each_epoch_draws_numbers_of_its_own(as_process, monkeypatch):
    def draw(number, epoch):
        as_process(number, 3)
        monkeypatch.setattr("recbole_hm4sr.parallel.training.rank", lambda: number)
        seed_epoch(7, epoch)
        return random.random(), float(np.random.rand()), torch.rand(1).item()  # noqa: NPY002

    draws = {(number, epoch): draw(number, epoch) for number in range(3) for epoch in range(2)}
    for place in range(3):  # Python's, NumPy's and torch's
        assert len({numbers[place] for numbers in draws.values()}) == 6
    assert draw(1, 1) == draws[1, 1]
