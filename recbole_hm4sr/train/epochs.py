"""The epochs of a run as records, and as the lines of ``history.jsonl``."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.files import write_text


@dataclasses.dataclass(frozen=True)
class Validation:
    """What the validation of an epoch has found in one view of the model.

    Attributes:
        valid_score: Value of the metric that chooses the best epoch.
        valid: All validation metrics.
        is_best: Whether this epoch is the best of its view so far.
    """

    valid_score: float
    valid: dict[str, float]
    is_best: bool


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Sum of the named losses, mean over the steps.
        losses: Each named loss, mean over the steps.
        valid_score: Value of the metric that chooses the best epoch, in the first view.
        valid: All validation metrics, in the first view.
        is_best: Whether this epoch is the best of the first view so far.
        train_seconds: Time of the training steps.
        valid_seconds: Time of the validation, of all views.
        views: What validation has found in the views after the first, by name; empty for a model
            that has one.
        run_seconds: Time of the run up to the end of this validation, data and pauses between
            processes left out; 0 where it was not measured.
        cpu_seconds: Processor time of the same, all threads together.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    valid_score: float
    valid: dict[str, float]
    is_best: bool
    train_seconds: float
    valid_seconds: float
    views: dict[str, Validation] = dataclasses.field(default_factory=dict)
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """The record as numbers, texts and mappings; without ``views`` where there are none."""
        values = dataclasses.asdict(self)
        if not self.views:
            del values["views"]
        return values

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> "EpochRecord":
        """The record that :meth:`to_plain` has given."""
        views = {name: Validation(**found) for name, found in values.get("views", {}).items()}
        return cls(**{**values, "views": views})


def write_epochs(path: Path, epochs: list[EpochRecord]) -> None:
    """Write one JSON line per epoch, whole or not at all.

    Raises:
        WriteError: If it cannot be written.
    """
    lines = [json.dumps(record.to_plain()) + "\n" for record in epochs]
    write_text(path, "".join(lines))
