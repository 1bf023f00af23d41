"""Checkpoints: whole or not at all, refused when damaged or foreign, without running code."""

import os
import pickle
import random
import re

import numpy as np
import pytest
import torch

from recbole_hm4sr.checkpoint import (
    random_states,
    read_checkpoint,
    set_random_states,
    write_checkpoint,
)
from recbole_hm4sr.errors import DataError

STATE = {
    "state_dict": {"weight": torch.arange(4.0)},
    "epoch": 3,
    "history": [{"loss": 0.5, "name": "a"}],
    "pair": (1, None),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint" / "last.pt"


def contents(state):
    return {**state, "state_dict": state["state_dict"]["weight"].tolist()}


def test_a_checkpoint_reads_back_as_it_was_and_leaves_no_other_file(path):
    write_checkpoint(path, STATE)
    state = read_checkpoint(path)
    assert {name: contents(state)[name] for name in STATE} == contents(STATE)
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


class _Unwritable:
    def __reduce__(self):
        raise KeyboardInterrupt("while saving")


def test_an_interrupted_write_keeps_the_old_checkpoint_and_nothing_else(path):
    write_checkpoint(path, STATE)
    with pytest.raises(KeyboardInterrupt, match="while saving"):
        write_checkpoint(path, {**STATE, "epoch": 4, "trap": _Unwritable()})
    assert read_checkpoint(path)["epoch"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "last.pt"
    with pytest.raises(DataError, match=f"cannot write {re.escape(str(path))}: "):
        write_checkpoint(path, STATE)
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(DataError, match=r"cannot write .*taken"):
        write_checkpoint(path, STATE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "taken"]


def test_a_missing_checkpoint_is_named(path):
    with pytest.raises(DataError, match=r"the checkpoint .*last\.pt does not exist"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(path, share):
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"the checkpoint .*last\.pt cannot be read: File is not a"):
        read_checkpoint(path)


def test_one_altered_byte_in_the_weights_is_refused(path):
    write_checkpoint(path, STATE)
    whole = bytearray(path.read_bytes())
    place = whole.index(STATE["state_dict"]["weight"].numpy().tobytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(
        DataError, match=r"^the checkpoint \S+ cannot be read: .*data/0 fails its check sum$"
    ):
        read_checkpoint(path)


def test_an_altered_byte_anywhere_is_refused_or_changes_nothing(path):
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 9):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        try:
            state = read_checkpoint(path)
        except DataError:
            refused += 1
        else:
            assert {name: contents(state)[name] for name in STATE} == contents(STATE)
    assert refused > 0


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("run",)


def test_code_in_a_foreign_file_is_not_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir()
    torch.save({"format": "recbole-hm4sr checkpoint", "version": 1, "x": _Trap()}, path)
    with pytest.raises(DataError, match="cannot be read: Weights only load failed"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(DataError, match="cannot be read: File is not a zip file"):
        read_checkpoint(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, [1, 2], {"format": "another"}])
def test_another_kind_of_file_is_refused(path, foreign):
    path.parent.mkdir()
    torch.save(foreign, path)
    with pytest.raises(
        DataError, match=r"last\.pt must be a checkpoint of this package, got another kind of file"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(("version", "shown"), [({"version": 2}, "2"), ({}, "None")])
def test_another_version_is_refused(path, version, shown):
    path.parent.mkdir()
    torch.save({"format": "recbole-hm4sr checkpoint", **version}, path)
    with pytest.raises(DataError, match=f"must have version 1, got {shown}; read it with the rel"):
        read_checkpoint(path)


def draws():
    return random.random(), np.random.random(), np.random.normal(), torch.rand(1).item()  # noqa: NPY002


def test_random_states_go_through_a_checkpoint_and_go_on_as_they_were(path):
    np.random.normal()  # noqa: NPY002  leaves a second value waiting
    write_checkpoint(path, {"random_states": random_states()})
    expected = [draws() for _ in range(3)]
    set_random_states(read_checkpoint(path)["random_states"])
    assert [draws() for _ in range(3)] == expected
