"""A disk that is full and folders that may not be written to: one sentence, and nothing is lost."""

import contextlib
import errno
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from killing import contents, history_of, words_of

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import DataError, WriteError
from recbole_hm4sr.base.files import append_line
from recbole_hm4sr.compare.results import read_results
from recbole_hm4sr.compare.runner import _forget_failure
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

pytestmark = pytest.mark.integration
N_EPOCHS = 4


def mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this system lets the tests mount nothing: {done.stderr.strip()}")


def unmount(folder):
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 16 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder))
    yield folder
    unmount(folder)


@contextlib.contextmanager
def unwritable(folder):
    """Let nothing be written to a folder. Root ignores permissions, but not a read-only mount."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        unmount(folder)


def fill(folder, left=0):
    """Fill the disk of a folder but for some bytes. Returns what fills it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - left))
    return path


def settings(toy_path):
    return {**QUICK, "data_path": str(toy_path), "use_gpu": False, "epochs": N_EPOCHS}


@pytest.fixture(scope="module")
def expected(toy_path, tmp_path_factory):
    whole = tmp_path_factory.mktemp("disk") / "whole"
    quick_start.run("SASRec", "toy", overrides=settings(toy_path), run_dir=whole)
    return contents(whole)


@pytest.mark.parametrize("left", [0, 1 << 13], ids=["no byte left", "room for a part"])
def test_a_disk_that_fills_up_ends_the_run_and_room_lets_it_go_on(
    toy_path, small_disk, expected, left
):
    run_dir = small_disk / "run"
    fillers = []

    def fill_after_two(record):
        if record.epoch == 2:
            fillers.append(fill(small_disk, left))

    message = (
        rf"^cannot write {re.escape(str(run_dir))}\S*: No space left on device; the finished "
        rf"epochs are kept: make room, .* --resume {re.escape(str(run_dir))}$"
    )
    with pytest.raises(WriteError, match=message):
        quick_start.run(
            "SASRec",
            "toy",
            overrides=settings(toy_path),
            run_dir=run_dir,
            on_epoch=fill_after_two,
        )
    checkpoint = run_dir / "checkpoint"
    assert {path.name for path in checkpoint.iterdir()} == {"best.pt", "last.pt", "previous.pt"}
    assert [read_checkpoint(checkpoint / f"{n}.pt")["epoch"] for n in ("previous", "last")] == [
        0,
        1,
    ]
    assert len(history_of(run_dir)) == 2
    fillers[0].unlink()
    quick_start.resume(run_dir)
    assert contents(run_dir) == expected


def test_a_disk_without_room_for_the_results_keeps_the_trained_run(toy_path, small_disk, expected):
    run_dir = small_disk / "run"
    fillers = []

    def fill_after_the_last(record):
        if record.epoch == N_EPOCHS:
            fillers.append(fill(small_disk))

    with pytest.raises(WriteError, match=r"No space left on device; the finished epochs are kept"):
        quick_start.run(
            "SASRec",
            "toy",
            overrides=settings(toy_path),
            run_dir=run_dir,
            on_epoch=fill_after_the_last,
        )
    assert not (run_dir / "metrics.json").exists()
    fillers[0].unlink()
    quick_start.resume(run_dir)
    assert contents(run_dir) == expected


def test_a_folder_that_becomes_unwritable_ends_the_run_and_lets_it_go_on(
    toy_path, tmp_path, expected
):
    run_dir = tmp_path / "run"
    with contextlib.ExitStack() as stack:

        def close_after_two(record):
            if record.epoch == 2:
                stack.enter_context(unwritable(run_dir / "checkpoint"))

        with pytest.raises(
            WriteError,
            match=r"cannot write \S+last\.pt: (Read-only file system|Permission denied);",
        ):
            quick_start.run(
                "SASRec",
                "toy",
                overrides=settings(toy_path),
                run_dir=run_dir,
                on_epoch=close_after_two,
            )
        assert read_checkpoint(run_dir / "checkpoint" / "last.pt")["epoch"] == 1
        with pytest.raises(WriteError, match=r"(Read-only file system|Permission denied)"):
            quick_start.resume(run_dir)
        assert read_checkpoint(run_dir / "checkpoint" / "last.pt")["epoch"] == 1
    quick_start.resume(run_dir)
    assert contents(run_dir) == expected


def test_a_run_in_an_unwritable_folder_is_one_line_and_exit_code_2(toy_path, tmp_path, capsys):
    folder = tmp_path / "closed"
    folder.mkdir()
    with unwritable(folder), pytest.raises(SystemExit, match="2"):
        cli.main(words_of("SASRec", toy_path, folder / "run"))
    error = capsys.readouterr().err.strip()
    assert re.fullmatch(
        r"error: run_dir must be a folder that can be written, got \S+, where \S+ cannot", error
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("size", [10, 10**5, 10**6])
def test_a_checkpoint_without_room_says_so_and_leaves_the_old_one(small_disk, size):
    """Torch's own error names neither the file nor the reason."""
    import torch

    path = small_disk / "last.pt"
    write_checkpoint(path, {"epoch": 1})
    fill(small_disk, left=1 << 12)
    with pytest.raises(WriteError, match=r"^cannot write \S+last\.pt: No space left on device$"):
        write_checkpoint(path, {"epoch": 2, "weight": torch.zeros(4096 + size)})
    assert read_checkpoint(path)["epoch"] == 1
    assert sorted(file.name for file in small_disk.iterdir()) == ["filler", "last.pt"]


def test_a_line_of_a_comparison_without_room_is_an_error(small_disk):
    path = small_disk / "results.jsonl"
    append_line(path, {"fingerprint": "a"})
    fill(small_disk)
    long = {"fingerprint": "b", "text": "x" * 10**5}
    with pytest.raises(DataError, match=os.strerror(errno.ENOSPC)):
        append_line(path, long)
    (small_disk / "filler").unlink()
    append_line(path, {"fingerprint": "c"})
    assert [record["fingerprint"] for record in read_results(path)] == ["a", "c"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_cell_that_failed_for_want_of_room_goes_on_when_tried_again(tmp_path, goes_on):
    kept = tmp_path / "checkpoint" / "last.pt"
    write_checkpoint(kept, {"epoch": 1})
    for name in ("cell.json", "log.txt", "config.yaml"):
        (tmp_path / name).touch()
    failure = {"reason": "cannot write", "goes_on": goes_on}
    (tmp_path / "failure.json").write_text(json.dumps(failure))
    _forget_failure(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cell.json", "log.txt"} | ({"config.yaml", "checkpoint"} if goes_on else set())
    assert kept.exists() == goes_on


def test_the_filler_fills(small_disk):
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        Path(small_disk / "more").write_bytes(bytes(1 << 14))
