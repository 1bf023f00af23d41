"""What a trainer writes."""

import dataclasses
from pathlib import Path

from recbole_hm4sr.train.checkpoint_folder import CheckpointFolder
from recbole_hm4sr.train.event_log import EventLog


@dataclasses.dataclass(frozen=True)
class TrainingFiles:
    """What a trainer writes.

    Attributes:
        checkpoints: The run's checkpoints.
        epochs: One line of JSON per epoch.
        events: The curves.
    """

    checkpoints: CheckpointFolder
    epochs: Path
    events: EventLog
