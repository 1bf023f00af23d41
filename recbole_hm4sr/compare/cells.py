"""One run of a comparison: its name, its folder, and what its result depends on."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.config.compose import compose_settings
from recbole_hm4sr.config.fingerprint import settings_hash
from recbole_hm4sr.model.registry import find_model, settings_with


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
        values, _ = compose_settings(
            self.model,
            self.dataset,
            overrides=self.overrides,
            settings_class=find_model(self.model).settings_class,
        )
        return values

    def fingerprint(self, data_hash: str) -> str:
        """Hash of all that the result depends on: model, settings and data."""
        return settings_hash(
            self.model,
            self.dataset,
            data_hash,
            self.composed(),
            left_out=settings_with("machine"),
        )


def slug(label: str) -> str:
    """A label as the name of a folder.

    >>> slug("HM4SR without time & text")
    'HM4SR-without-time-text'
    >>> slug("SASRec+")
    'SASRec+'
    """
    return re.sub(r"[^\w.+]+", "-", label).strip("-.") or "model"
