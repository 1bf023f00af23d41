"""One run of a comparison: what names it, where it lies, and what its result depends on."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.config import compose_settings

# What no result depends on: a cell stays finished when these change.
_OF_THE_MACHINE = (
    "checkpoint_dir",
    "data_path",
    "gpu_id",
    "log_wandb",
    "n_threads",
    "process_timeout",
    "show_progress",
    "state",
    "use_gpu",
    "wandb_project",
    "worker",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        dataset: Name of the data set.
        label: Row of the table.
        model: Name of the model.
        settings: Settings that win over the YAML files.
        seed: Seed of the run.
    """

    dataset: str
    label: str
    model: str
    settings: Mapping[str, Any]
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the cell: data set, label, seed."""
        return self.dataset, self.label, self.seed

    @property
    def folder(self) -> Path:
        """Folder of the run below the comparison's."""
        return Path(self.dataset) / slug(self.label) / f"seed-{self.seed}"

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of the run, its seed among them."""
        return {**self.settings, "seed": self.seed}

    def composed(self) -> dict[str, Any]:
        """All settings of the run, the YAML files' too."""
        return compose_settings(self.model, self.dataset, overrides=self.overrides)[0]

    def fingerprint(self, data_hash: str) -> str:
        """Hash of all that the result depends on: model, settings and data."""
        values = {k: v for k, v in self.composed().items() if k not in _OF_THE_MACHINE}
        text = json.dumps([self.model, self.dataset, data_hash, values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(label: str) -> str:
    """A label as the name of a folder.

    >>> slug("HM4SR without time & text")
    'HM4SR-without-time-text'
    """
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "model"


def data_hash(folder: Path) -> str:
    """Hash of the files of a data set."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(f"{folder.name}.*")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
