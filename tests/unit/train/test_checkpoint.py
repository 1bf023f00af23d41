"""Checkpoints: whole or not at all, refused when damaged or foreign, without running code."""

import hashlib
import os
import pickle
import random
import re
import zipfile

import numpy as np
import pytest
import torch

from recbole_hm4sr.base.errors import CheckpointError, DataError
from recbole_hm4sr.train.checkpoint import random_states, read_checkpoint, set_random_states
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

NOT_WHOLE = (
    r"last\.pt must be a checkpoint of this package with its check sum at the end, got a file"
)
ALTERED = r"the checkpoint \S+last\.pt is altered: it does not meet its check sum$"
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
    with pytest.raises(CheckpointError, match=NOT_WHOLE):
        read_checkpoint(path)


def test_one_altered_byte_in_the_weights_is_refused(path):
    write_checkpoint(path, STATE)
    whole = bytearray(path.read_bytes())
    place = whole.index(STATE["state_dict"]["weight"].numpy().tobytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=ALTERED):
        read_checkpoint(path)


def test_an_altered_byte_anywhere_is_refused(path):
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=f"{NOT_WHOLE}|{ALTERED}"):
            read_checkpoint(path)
    path.write_bytes(whole)
    assert read_checkpoint(path)["epoch"] == 3


def test_bytes_after_the_end_and_before_the_beginning_are_refused(path):
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x")
    with pytest.raises(CheckpointError, match=NOT_WHOLE):
        read_checkpoint(path)
    path.write_bytes(b"x" + whole)
    with pytest.raises(CheckpointError, match=ALTERED):
        read_checkpoint(path)


def test_a_checkpoint_is_a_zip_archive_that_torch_and_others_read(path):
    write_checkpoint(path, STATE)
    assert torch.load(path, weights_only=True)["epoch"] == 3
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        content, comment = path.read_bytes(), archive.comment
    # The sum is of the archive without its comment, which ends in a length of two zero bytes.
    plain = content[: -len(comment) - 2] + bytes(2)
    assert comment == b"sha256:" + hashlib.sha256(plain).hexdigest().encode()


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("run",)


def test_code_in_a_foreign_file_is_not_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir()
    torch.save({"format": "recbole-hm4sr checkpoint", "version": 1, "x": _Trap()}, path)
    with pytest.raises(CheckpointError, match=NOT_WHOLE):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(CheckpointError, match=NOT_WHOLE):
        read_checkpoint(path)
    write_checkpoint(path, {"x": _Trap()})  # with the sum of this package
    with pytest.raises(CheckpointError, match="cannot be read: Weights only load failed"):
        read_checkpoint(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, [1, 2], {"format": "another"}])
def test_another_kind_of_file_is_refused(path, foreign):
    path.parent.mkdir()
    torch.save(foreign, path)
    with pytest.raises(CheckpointError, match=NOT_WHOLE):
        read_checkpoint(path)


def test_another_format_with_a_check_sum_is_refused(path):
    write_checkpoint(path, {**STATE, "format": "another"})
    with pytest.raises(
        CheckpointError, match=r"last\.pt must be a checkpoint of this package, got another kind of"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize("version", [1, None])
def test_another_version_is_refused(path, version):
    write_checkpoint(path, {**STATE, "version": version})
    with pytest.raises(
        CheckpointError, match=f"must have version 2, got {version}; read it with the release"
    ):
        read_checkpoint(path)


def test_the_one_before_is_kept_when_asked_for(path):
    for epoch in (1, 2, 3):
        write_checkpoint(path, {**STATE, "epoch": epoch}, keep_as=path.with_name("previous.pt"))
    assert read_checkpoint(path)["epoch"] == 3
    assert read_checkpoint(path.with_name("previous.pt"))["epoch"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.pt", "previous.pt"]


def draws():
    return random.random(), np.random.random(), np.random.normal(), torch.rand(1).item()  # noqa: NPY002


def test_random_states_go_through_a_checkpoint_and_go_on_as_they_were(path):
    np.random.normal()  # noqa: NPY002  leaves a second value waiting
    write_checkpoint(path, {"random_states": random_states()})
    expected = [draws() for _ in range(3)]
    set_random_states(read_checkpoint(path)["random_states"])
    assert [draws() for _ in range(3)] == expected
