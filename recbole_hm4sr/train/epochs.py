"""The epochs of a run as records, and as the lines of ``history.jsonl``."""

import dataclasses
import json
from pathlib import Path

from recbole_hm4sr.base.files import write_text


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Sum of the named losses, mean over the steps.
        losses: Each named loss, mean over the steps.
        valid_score: Value of the metric that chooses the best epoch.
        valid: All validation metrics.
        is_best: Whether this epoch is the best so far.
        train_seconds: Time of the training steps.
        valid_seconds: Time of the validation.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    valid_score: float
    valid: dict[str, float]
    is_best: bool
    train_seconds: float
    valid_seconds: float


def write_epochs(path: Path, epochs: list[EpochRecord]) -> None:
    """Write one JSON line per epoch, whole or not at all.

    Raises:
        WriteError: If it cannot be written.
    """
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in epochs]
    write_text(path, "".join(lines))
