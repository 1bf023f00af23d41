"""The files of one run's folder, read and checked: all that a page is made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.evaluate.groups import Array
from recbole_hm4sr.evaluate.rank_file import RANK_FILE, read_ranks
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.run.place import no_run_there

FACTS_FILE = "report.json"
FACTS_VERSION = 1
_FACTS = frozenset(
    ("seed", "data", "temporal", "interactive", "parts", "cases", "items", "images", "seconds")
)


@dataclass(frozen=True)
class RunFiles:
    """A finished run.

    Attributes:
        folder: Its folder.
        metrics: ``metrics.json``.
        history: ``history.jsonl``, one record per epoch.
        settings: ``config.yaml``.
        settings_text: The same as it is written.
        ranks: ``test_ranks.npz``; None if there is none.
        facts: ``report.json``, what the model tells; None if there is none that is whole and has
            this version.
        view_ranks: The ranks of each view that has any, by its name; empty for a run that was
            measured in one way.
    """

    folder: Path
    metrics: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    settings_text: str
    ranks: dict[str, Array] | None
    facts: Mapping[str, Any] | None
    view_ranks: Mapping[str, dict[str, Array]]

    @property
    def model(self) -> str:
        """What pages call the model."""
        return display_name(str(self.metrics["model"]))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def cut(self) -> int:
        """The cut-off that charts show: 10 where it was measured, else the middle one."""
        cuts = sorted({int(name.split("@")[1]) for name in self.metrics["valid"] if "@" in name})
        return 10 if 10 in cuts or not cuts else cuts[len(cuts) // 2]


def read_run(folder: Path) -> RunFiles:
    """Read the files of a finished run.

    Raises:
        DataError: If the run has not finished, or a file cannot be read.
    """
    metrics = _read_json(folder / "metrics.json")
    text = _read_text(folder / "config.yaml")
    lines = _read_text(folder / "history.jsonl").splitlines()
    try:
        settings = yaml.safe_load(text) or {}
        history = tuple(json.loads(line) for line in lines)
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"the files of the run {folder} must be whole, but: {error}") from error
    facts = _read_json(folder / FACTS_FILE) if (folder / FACTS_FILE).is_file() else None
    if facts is not None and (facts.get("version") != FACTS_VERSION or _FACTS - set(facts)):
        facts = None
    ranks = read_ranks(folder) if (folder / RANK_FILE).is_file() else None
    views = {name: view["ranks"] for name, view in (metrics.get("views") or {}).items()}
    view_ranks = {name: read_ranks(folder, file) for name, file in views.items() if file}
    return RunFiles(folder, metrics, history, settings, text, ranks, facts, view_ranks)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent} must be the folder of a finished run, "
            f"{no_run_there(path.parent, path.name)}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _read_json(path: Path) -> Any:
    text = _read_text(path)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} must be JSON, but: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value
