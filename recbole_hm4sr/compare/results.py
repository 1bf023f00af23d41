"""Results of the cells of a grid: ``results.jsonl`` and the folders of the runs.

``results.jsonl`` has one line a finished run, appended whole, so that a crash loses no other.
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.files import read_lines
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.grid import VIEW_SEPARATOR, Grid
from recbole_hm4sr.config.compose import resolve_data_path
from recbole_hm4sr.config.fingerprint import data_hash
from recbole_hm4sr.evaluate.rank_file import RANK_FILE

_log = logging.getLogger(__name__)

# What a line takes over from the run's metrics.json.
FACTS = (
    "valid",
    "test",
    "test_include",
    "test_exclude",
    "views",
    "rank_history",
    "tie_order",
    "generated",
    "best_epoch",
    "epochs",
    "ended_by",
    "variant",
    "n_items",
    "one_moment",
    "n_parameters",
    "zero_score_share",
    "lists",
    "seconds",
    "train_seconds_per_epoch",
    "valid_seconds_per_epoch",
    "peak_memory_mb",
    "device",
    "machine",
    "git_revision",
    "versions",
)


def row_label(label: str, view: str) -> str:
    """Label of a row: the model's, and what tells one of its views.

    >>> row_label("Momento", "memory frozen"), row_label("SASRec+", "")
    ('Momento · memory frozen', 'SASRec+')
    """
    return f"{label}{VIEW_SEPARATOR}{view}" if view else label


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a cell.

    Attributes:
        cell: The cell.
        fingerprint: Hash of all that its result depends on.
        folder: Folder of its run.
        record: Its line of ``results.jsonl``; None while it has none.
        trial: Folder of a search's run that is this very run, and need not be trained again; None
            if there is none.
        view: Of a model that is measured in several views, what tables add to its name for this
            one; else empty.
        ranks: Name of the file of its ranks.
    """

    cell: Cell
    fingerprint: str
    folder: Path
    record: dict[str, Any] | None
    trial: Path | None = None
    view: str = ""
    ranks: str = RANK_FILE

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What names its line of ``results.jsonl``."""
        return (*self.cell.key, self.fingerprint)

    @property
    def row(self) -> str:
        """Label of the row of a table."""
        return row_label(self.cell.label, self.view)

    @property
    def done(self) -> bool:
        """Whether the run has a result."""
        return self.record is not None and self.record["status"] == "done"


def read_results(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a torn one, which a crash leaves, is skipped with a warning.

    Raises:
        DataError: If the file cannot be read.
    """
    records = []
    for number, record in read_lines(path):
        if record is not None and "fingerprint" in record:
            records.append(record)
        else:
            _log.warning("%s, line %d is torn and left out; its run is done again", path, number)
    return records


_KINDS = {"dataset": str, "label": str, "seed": int, "fingerprint": str, "status": str}


def _is_record(value: Any) -> bool:
    """Whether a line is one that this package writes."""
    if not isinstance(value, dict):
        return False
    kinds = {**_KINDS, **({"valid": dict} if value.get("status") == "done" else {"reason": str})}
    return all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def latest_results(path: Path) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """The last line of each data set, label, seed and fingerprint."""
    return {
        (record["dataset"], record["label"], record["seed"], record["fingerprint"]): record
        for record in read_results(path)
        if _is_record(record)
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
        trial = _trial_of(cell, grid, hashes[cell.dataset])
        outcomes.append(Outcome(cell, fingerprint, folder, record, trial))
    return outcomes


def count_others(outcomes: Sequence[Outcome], out: Path) -> int:
    """How many cells have no result, but one of other settings or data under their name."""
    known = latest_results(out / "results.jsonl").items()
    done = {key[:3] for key, record in known if record["status"] == "done"}
    return sum(outcome.record is None and outcome.cell.key in done for outcome in outcomes)


def _trial_of(cell: Cell, grid: Grid, data: str) -> Path | None:
    tuned = grid.tuned(cell.label)
    if tuned is None:
        return None
    return tuned.run_with(cell.model, cell.dataset, data, cell.composed())


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
