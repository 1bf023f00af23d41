"""Shares of a table: who holds what, and that each draws its part of the whole table."""

import pytest
import torch
from torch import nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.parallel import shards as module
from recbole_hm4sr.parallel.shards import Shards, sharded_parameters, shards_of


@pytest.fixture
def as_process(monkeypatch):
    def set_place(number, count):
        monkeypatch.setattr(module, "rank", lambda: number)
        monkeypatch.setattr(module, "world_size", lambda: count)

    return set_place


def of_each(as_process, n_rows, count):
    found = []
    for number in range(count):
        as_process(number, count)
        found.append(Shards.of_processes(n_rows))
    return found


def test_parts_are_consecutive_and_as_equal_as_can_be(as_process):
    parts = of_each(as_process, 10, 4)
    assert [(it.own.start, it.own.stop) for it in parts] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert {(it.n_rows, it.longest, it.is_split) for it in parts} == {(10, 3, True)}
    assert [it.n_own for it in parts] == [2, 3, 2, 3]


def test_fewer_items_than_processes_are_refused(as_process):
    as_process(0, 4)
    with pytest.raises(ConfigError, match="got 3 items and 4 processes"):
        Shards.of_processes(3)


def test_one_process_holds_all_and_exchanges_nothing():
    whole, rows = Shards.whole(5), torch.arange(10.0).view(5, 2)
    assert (whole.own, whole.is_split) == (slice(0, 5), False)
    assert torch.equal(whole.look_up(rows, torch.tensor([3, 0])), rows[[3, 0]])
    assert whole.join(rows) is rows
    assert whole.sum(rows) is rows


@pytest.mark.parametrize(("n_rows", "width", "block"), [(1000, 3, 64), (83, 5, 16), (80, 16, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parts_are_drawn_as_torch_draws_the_whole_table(
    as_process, monkeypatch, n_rows, width, block, dtype
):
    monkeypatch.setattr(module, "_ROWS_DRAWN_AT_A_TIME", block)
    torch.manual_seed(1)
    expected, after = torch.empty(n_rows, width, dtype=dtype).normal_(0, 0.02), torch.rand(1)
    parts = []
    for shards in [*of_each(as_process, n_rows, 3), Shards.whole(n_rows)]:
        parts.append(torch.empty(shards.n_own, width, dtype=dtype))
        torch.manual_seed(1)
        shards.draw_normal(parts[-1], 0.02)
        assert torch.equal(torch.rand(1), after)  # what is drawn next is the same too
    assert torch.equal(torch.cat(parts[:3]), expected)
    assert torch.equal(parts[3], expected)


def test_a_part_of_a_table_knows_what_it_is_until_it_is_made_whole(as_process):
    as_process(1, 2)
    shards = Shards.of_processes(9)
    model = nn.Sequential(IdRows(shards, 2), IdRows(9, 2), nn.Linear(2, 2))
    assert list(sharded_parameters(model)) == ["0.weight"]
    model.shards = shards
    assert shards_of(model) is shards
    ids = model[0]
    assert ids.weight.shape == (5, 2)
    # The gradient is that of the mean over the processes: of two, half.
    ids.rows().sum().backward()
    assert torch.equal(ids.weight.grad, torch.full((5, 2), 0.5))
    ids.weight.data.fill_(1)
    ids.zero_padding()
    assert ids.weight.all()  # the padding item is the other one's
    ids.make_whole()
    assert ids.weight.shape == (9, 2)
    assert not sharded_parameters(model)
    model.shards = ids.shards
    assert shards_of(model) is None
