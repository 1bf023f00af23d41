"""Files are written whole or not at all, and survive a power cut."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.base.errors import WriteError
from recbole_hm4sr.base.files import remove_leftovers, write_npz, write_text, write_whole


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path, monkeypatch
):
    """Else a power cut leaves an empty file of the new name, or none."""
    steps, sync, rename = [], os.fsync, Path.replace

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("sync the folder" if is_folder else "sync the file")
        sync(descriptor)

    def replace(path, target):
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a", "one")
    assert steps == ["sync the file", "rename", "sync the folder"]
    assert (tmp_path / "a").read_text() == "one"


def test_what_stood_there_is_kept_until_the_new_file_is_whole(tmp_path):
    path, kept = tmp_path / "a", tmp_path / "before"
    write_text(path, "one")

    def fail(file):
        file.write(b"tw")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"^cannot write \S+a: No space left on device$"):
        write_whole(path, fail, keep_as=kept)
    assert path.read_text() == "one"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    write_whole(path, lambda file: file.write(b"two"), keep_as=kept)
    assert (path.read_text(), kept.read_text()) == ("two", "one")


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        f".last.pt.{gone.pid}.new": False,
        f".last.pt.{os.getpid()}.new": False,  # this process is not writing
        f".last.pt.{os.getppid()}.new": True,
        ".hidden.new": True,
        "last.pt": True,
        "12.new": True,
    }
    for name in names:
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {name for name, stays in names.items() if stays}
    remove_leftovers(tmp_path / "missing")


def test_an_archive_holds_what_it_was_given_and_no_objects(tmp_path):
    arrays = {"a": np.arange(3), "b": np.array(["x", "yz"])}
    for compress in (False, True):
        write_npz(tmp_path / "file.npz", arrays, compress=compress)
        with np.load(tmp_path / "file.npz", allow_pickle=False) as found:
            assert sorted(found) == ["a", "b"]
            assert found["a"].tolist() == [0, 1, 2]
            assert found["b"].tolist() == ["x", "yz"]
    with pytest.raises(TypeError, match="arrays of objects cannot be kept: b"):
        write_npz(tmp_path / "other.npz", {"a": np.arange(3), "b": np.array([None])})
    assert not (tmp_path / "other.npz").exists()
