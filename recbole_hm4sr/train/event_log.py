"""What an epoch tells TensorBoard and, where they are asked for, Weights & Biases and MLflow.

All get the same names: ``Loss/Train`` (RecBole's name for the sum), ``Loss/<name>``,
``Valid/<metric>``, ``Valid-<view>/<metric>``, ``LearningRate/<group>``, ``Seconds/<part>``,
``Memory/peak_mb`` and at the end ``Test/<metric>``.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_hm4sr.train.costs import Costs
from recbole_hm4sr.train.epochs import EpochRecord
from recbole_hm4sr.train.trackers import MlflowTracker, TensorBoardTracker, Tracker, WandbTracker

_log = logging.getLogger(__name__)


class EventLog:
    """Sends the curves of a run to its trackers.

    Their folders are made with the first value: a run that is tested again leaves its folder as it
    is.

    Args:
        config: RecBole ``Config``.
        run_dir: Folder of the run, which holds theirs.
        silent: Send nothing, as in all processes of a run but the first.
    """

    def __init__(self, config: Any, run_dir: Path, *, silent: bool = False) -> None:
        self._config = config
        self._run_dir = run_dir
        self._silent = silent
        self._trackers: tuple[Tracker, ...] = ()

    def trained(
        self,
        epoch: int,
        losses: Mapping[str, float],
        seconds: float,
        *,
        rates: Sequence[float],
        costs: Costs,
    ) -> None:
        """An epoch that was trained.

        Args:
            epoch: From 1.
            losses: Each named loss, mean over the steps.
            seconds: Of the steps.
            rates: The learning rate of each group of weights.
            costs: Of the run so far.

        Raises:
            OSError: If a file cannot be written.
        """
        values = {
            "Loss/Train": sum(losses.values()),
            **{f"Loss/{name}": value for name, value in losses.items()},
            **{f"LearningRate/{number}": rate for number, rate in enumerate(rates)},
            "Seconds/train": seconds,
            "Memory/peak_mb": costs.peak_memory_bytes / 2**20,
        }
        self._send(values, epoch)

    def validated(self, record: EpochRecord) -> None:
        """The validation of an epoch.

        Raises:
            OSError: If a file cannot be written.
        """
        values = {
            **{f"Valid/{name}": value for name, value in record.valid.items()},
            **{
                f"Valid-{view}/{name}": value
                for view, found in record.views.items()
                for name, value in found.valid.items()
            },
            "Seconds/valid": record.valid_seconds,
        }
        self._send(values, record.epoch)

    def tested(self, metrics: Mapping[str, float], best_epoch: int) -> None:
        """The test of the best epoch; nothing where the run was not trained here.

        Args:
            metrics: By name.
            best_epoch: From 1.
        """
        values = {f"Test/{name}": value for name, value in metrics.items()}
        for tracker in self._trackers:
            tracker.log(values, best_epoch)

    def close(self) -> None:
        """End the trackers, their threads and processes."""
        for tracker in self._trackers:
            try:
                tracker.close()
            except OSError as error:
                _log.warning("%s's files are not complete: %s", tracker.title, error)
        self._trackers = ()

    def _send(self, values: Mapping[str, float], epoch: int) -> None:
        for tracker in self._open():
            tracker.log(values, epoch)

    def _open(self) -> tuple[Tracker, ...]:
        if not self._trackers and not self._silent:
            settings = model_settings(self._config)
            trackers: list[Tracker] = [TensorBoardTracker(self._run_dir, settings)]
            if self._config["log_wandb"]:
                project = self._config["wandb_project"]
                trackers.append(WandbTracker(self._run_dir, settings, project=project))
            if self._config["log_mlflow"]:
                trackers.append(MlflowTracker(self._run_dir, settings))
            self._trackers = tuple(trackers)
        return self._trackers


def model_settings(config: Any) -> dict[str, Any]:
    """What trackers show beside curves: the learner's settings, and those of the model."""
    of_recbole = {name for names in config.parameters.values() for name in names}
    of_recbole |= {"model", "dataset", "config_files", "device"}
    shown = ("model", "dataset", "seed", "learner", "learning_rate", "train_batch_size")
    values = {
        name: value
        for name, value in config.final_config_dict.items()
        if name in shown or name not in of_recbole
    }
    plain = (bool, str, float, int, type(None))
    return {name: v if isinstance(v, plain) else str(v) for name, v in values.items()}
