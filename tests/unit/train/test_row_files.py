"""Files of rows beside a checkpoint: read by any number of processes, and by one that wants all."""

import pytest
import torch

from recbole_hm4sr.base.errors import CheckpointError
from recbole_hm4sr.parallel.shards import Shards
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import read_file, write_checkpoint
from recbole_hm4sr.train.row_files import (
    RowReader,
    named_files,
    remove_others,
    without_rows,
    write_rows,
)

IDS, MEAN, STEP = torch.arange(20.0).view(10, 2), torch.arange(20.0, 40).view(10, 2), torch.ones(())
OTHER = torch.randn(3, 3)


def reader(number, count):
    bounds = tuple(10 * n // count for n in range(count + 1))
    return RowReader(Shards(bounds, number), ("ids",), (1,))


def state(rows=slice(None)):
    moments = {0: {"exp_avg": OTHER}, 1: {"exp_avg": MEAN[rows], "step": STEP}}
    return {
        "epoch": 3,
        "state_dict": {"other": OTHER, "ids": IDS[rows]},
        "optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
    }


@pytest.fixture
def path(tmp_path):
    """A checkpoint of three processes."""
    for number in range(3):
        own = reader(number, 3)
        write_rows(tmp_path, state(own.shards.own), own, "3-ab")
    first = reader(0, 3)
    path = tmp_path / "last.pt"
    write_checkpoint(path, without_rows(state(first.shards.own), first, "3-ab"))
    return path


def rows_in(found):
    return found["state_dict"]["ids"], found["optimizer"]["state"][1]["exp_avg"]


def test_the_checkpoint_names_the_files_and_holds_no_row(path):
    held = read_file(path)
    names = [f"rows-3-ab-{number}of3.pt" for number in (1, 2, 3)]
    assert named_files(held) == names
    assert rows_in(held) == (None, None)
    assert torch.equal(held["state_dict"]["other"], OTHER)


def test_one_process_reads_what_it_would_have_written(path):
    found = read_checkpoint(path)
    found = {name: found[name] for name in state()}
    torch.testing.assert_close(found, state(), rtol=0, atol=0)
    assert not named_files(read_checkpoint(path))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("whole", [False, True])
def test_any_number_of_processes_read_their_own_rows(path, count, whole):
    if whole:
        write_checkpoint(path, state())
    for number in range(count):
        own = reader(number, count)
        found = read_checkpoint(path, reader=own)
        ids, mean = rows_in(found)
        assert torch.equal(ids, IDS[own.shards.own])
        assert torch.equal(mean, MEAN[own.shards.own])
        assert found["optimizer"]["state"][1]["step"] == STEP


def test_a_part_of_a_checkpoint_keeps_the_rows_that_belong_to_it(path):
    held = read_file(path)
    write_checkpoint(path.with_name("best.pt"), {n: held[n] for n in ("state_dict", "rows")})
    found = read_checkpoint(path.with_name("best.pt"))
    assert torch.equal(found["state_dict"]["ids"], IDS)
    assert "optimizer" not in found


@pytest.mark.parametrize("number", [1, 3])
def test_a_damaged_file_of_rows_is_a_damaged_checkpoint(path, number):
    damaged = path.with_name(f"rows-3-ab-{number}of3.pt")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    for own in (None, reader(0, 3)):  # also by a first one that does not want its rows
        with pytest.raises(CheckpointError, match=rf"{damaged.name} is altered"):
            read_checkpoint(path, reader=own)
    damaged.unlink()
    with pytest.raises(CheckpointError, match=rf"{damaged.name}"):
        read_checkpoint(path)


def test_files_that_nobody_names_are_removed(path):
    others = [path.with_name(name) for name in ("rows-2-cd-1of1.pt", "best.pt")]
    for other in others:
        other.touch()
    remove_others(path.parent, named_files(read_file(path)))
    assert [other.exists() for other in others] == [False, True]
    assert len(list(path.parent.glob("rows-3-ab-*"))) == 3
