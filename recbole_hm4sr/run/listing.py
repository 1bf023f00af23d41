"""The runs below a folder: what each trained, how far it came and how good it is, without torch."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import read_lines

CUT = "ndcg@10"


@dataclass(frozen=True)
class ListedRun:
    """One run.

    Attributes:
        folder: Its folder, below the one that was listed.
        model: Name of its model.
        dataset: Name of its data set.
        generated: Whether that is generated.
        state: ``finished``, ``trained <n> epochs`` or ``begun``; ``damaged`` where its files cannot
            be read.
        best_epoch: Number of its best epoch so far, from 1; 0 before the first.
        kept: Test NDCG@10 with seen items kept among the candidates; None where it was not tested.
        removed: The same with seen items removed.
        seconds: Wall time of the run so far; None before the first epoch.
    """

    folder: str
    model: str
    dataset: str
    generated: bool
    state: str
    best_epoch: int
    kept: float | None
    removed: float | None
    seconds: float | None

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


# What a list can be sorted by, and whether the largest comes first.
SORTABLE = {"folder": False, "model": False, "dataset": False, "seconds": False}
SORTABLE |= {"best_epoch": True, "kept": True, "removed": True}


def list_runs(folder: Path, *, sort: str = "folder") -> list[ListedRun]:
    """The runs in a folder and below it, those of comparisons and searches too.

    Args:
        folder: Where runs are, or one run.
        sort: One of :data:`SORTABLE`: scores fall, all else rises; what has no value comes last.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there must be a folder of runs, but {folder} does not exist")
    runs = [_read(path, folder) for path in _run_folders(folder)]
    runs.sort(key=lambda run: run.folder)
    falls = SORTABLE[sort]
    if sort != "folder":
        there = [run for run in runs if getattr(run, sort) is not None]
        there.sort(key=lambda run: getattr(run, sort), reverse=falls)
        runs = there + [run for run in runs if getattr(run, sort) is None]
    return runs


def _run_folders(folder: Path) -> Iterator[Path]:
    for place, below, files in os.walk(folder):
        if "config.yaml" in files:
            yield Path(place)
            below.clear()  # a run holds no run
        else:
            below.sort()


def _read(path: Path, above: Path) -> ListedRun:
    name = str(path.relative_to(above)) if path != above else path.resolve().name
    try:
        settings = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        model, dataset = settings["model"], settings["dataset"]
        if (path / "metrics.json").is_file():
            metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
            return _finished(name, model, dataset, metrics)
        epochs = _epochs(path / "history.jsonl")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ListedRun(name, "?", "?", False, "damaged", 0, None, None, None)
    best = max((record["epoch"] for record in epochs if record["is_best"]), default=0)
    seconds = sum(record["train_seconds"] + record["valid_seconds"] for record in epochs)
    count = f"trained {len(epochs)} epoch{'s' * (len(epochs) != 1)}"
    return ListedRun(
        name,
        model,
        dataset,
        bool(settings.get("generated", False)),
        count if epochs else "begun",
        best,
        None,
        None,
        seconds if epochs else None,
    )


def _finished(name: str, model: str, dataset: str, metrics: Mapping[str, Any]) -> ListedRun:
    return ListedRun(
        name,
        model,
        dataset,
        bool(metrics["generated"]),
        "finished",
        metrics["best_epoch"],
        metrics["test_include"].get(CUT),
        metrics["test_exclude"].get(CUT),
        metrics["seconds"],
    )


def _epochs(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a history; a run that has just begun has none."""
    return [line for _, line in read_lines(path) if line is not None]
