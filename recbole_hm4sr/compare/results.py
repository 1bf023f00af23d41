"""What is known of the cells of a grid: ``results.jsonl`` and the folders of the runs.

``results.jsonl`` has one line a finished run, appended whole, so that a crash loses no other.
"""

import dataclasses
import errno
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.compare.cells import Cell, data_hash
from recbole_hm4sr.compare.grid import Grid
from recbole_hm4sr.config import resolve_data_path
from recbole_hm4sr.errors import DataError

_log = logging.getLogger(__name__)

# What a line takes over from the run's metrics.json.
FACTS = (
    "valid",
    "test",
    "test_include",
    "test_exclude",
    "rank_history",
    "tie_order",
    "generated",
    "best_epoch",
    "epochs",
    "n_parameters",
    "train_seconds_per_epoch",
    "valid_seconds_per_epoch",
    "peak_memory_mb",
    "device",
    "machine",
    "git_revision",
    "versions",
    "command",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a cell.

    Attributes:
        cell: The cell.
        fingerprint: Hash of all that its result depends on.
        folder: Folder of its run.
        record: Its line of ``results.jsonl``; None while it has none.
    """

    cell: Cell
    fingerprint: str
    folder: Path
    record: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether the run has a result."""
        return self.record is not None and self.record["status"] == "done"


def append_result(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line and wait until the disk has it.

    Raises:
        DataError: If it cannot be written.
    """
    line = json.dumps(record) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        # One write to a file opened for appending cannot mix with another's.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            content = (("\n" if torn else "") + line).encode()
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_results(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a torn one, which a crash leaves, is skipped with a warning.

    Raises:
        DataError: If the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and "fingerprint" in record:
            records.append(record)
        elif line.strip():
            _log.warning("%s, line %d is torn and left out; its run is done again", path, number)
    return records


def latest_results(path: Path) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """The last line of each data set, label, seed and fingerprint."""
    return {
        (record["dataset"], record["label"], record["seed"], record["fingerprint"]): record
        for record in read_results(path)
    }


def read_outcomes(grid: Grid, out: Path) -> list[Outcome]:
    """What is known of the cells of a grid, in its order, without running any."""
    hashes = {}
    for dataset in grid.datasets:
        path = resolve_data_path(dataset, grid.settings.get("data_path"))
        hashes[dataset] = data_hash(path)
    known = latest_results(out / "results.jsonl")
    outcomes = []
    for cell in grid.cells():
        fingerprint = cell.fingerprint(hashes[cell.dataset])
        folder = _folder_of(out / cell.folder, fingerprint)
        record = known.get((*cell.key, fingerprint))
        if record is not None and record["status"] == "done" and not has_result(folder):
            record = None  # somebody has deleted the run
        outcomes.append(Outcome(cell, fingerprint, folder, record))
    return outcomes


def _folder_of(folder: Path, fingerprint: str) -> Path:
    """The folder of a run with these settings; one of other settings keeps its own."""
    own = folder.with_name(f"{folder.name}-{fingerprint[:8]}")
    if own.is_dir() or _fingerprint_in(folder) not in (None, fingerprint):
        return own
    return folder


def _fingerprint_in(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "cell.json").read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None


def has_result(folder: Path) -> bool:
    """Whether a run has ended and left its metrics and ranks."""
    return (folder / "metrics.json").is_file() and (folder / "test_ranks.npz").is_file()
