"""What an epoch tells TensorBoard and, with ``log_wandb``, Weights and Biases; RecBole's names."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole.utils import WandbLogger

_log = logging.getLogger(__name__)


class EventLog:
    """Writes the curves of a run.

    TensorBoard's folder and file are made with the first value: a run that is tested again leaves
    its folder as it is.

    Args:
        config: RecBole ``Config``.
        folder: Where TensorBoard's events go.
        silent: Write nothing, as in all processes of a run but the first.
    """

    def __init__(self, config: Any, folder: Path, *, silent: bool = False) -> None:
        self._config = config
        self._folder = folder
        self._wandb = None if silent else WandbLogger(config)
        self._n_validations = 0
        self._writer: Any = None

    def trained(self, epoch: int, loss: float) -> None:
        """The loss of an epoch.

        Args:
            epoch: From 0.
            loss: Sum over the steps.

        Raises:
            OSError: If it cannot be written.
        """
        if self._wandb is None:
            return
        self._tensorboard().add_scalar("Loss/Train", loss, epoch)
        values = {"epoch": epoch, "train_loss": loss, "train_step": epoch}
        self._wandb.log_metrics(values, head="train")

    def validated(self, epoch: int, score: float, metrics: Mapping[str, float]) -> None:
        """The validation of an epoch.

        Args:
            epoch: From 0.
            score: Value of the metric that chooses the best epoch.
            metrics: All of them.

        Raises:
            OSError: If it cannot be written.
        """
        if self._wandb is None:
            return
        self._tensorboard().add_scalar("Vaild_score", score, epoch)  # RecBole's spelling
        self._wandb.log_metrics({**metrics, "valid_step": self._n_validations}, head="valid")
        self._n_validations += 1

    def ended(self, best_score: float) -> None:
        """The settings of a run beside its best validation score.

        Raises:
            OSError: If it cannot be written.
        """
        if self._wandb is None:
            return
        scores = {"hparam/best_valid_result": best_score}
        self._tensorboard().add_hparams(_model_settings(self._config), scores)

    def close(self) -> None:
        """End TensorBoard's writer and its thread."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            _log.warning("TensorBoard's file is not complete: %s", error)

    def _tensorboard(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer


def _model_settings(config: Any) -> dict[str, Any]:
    """What RecBole shows beside a score: the learner's settings, and those of the model."""
    of_recbole = {name for names in config.parameters.values() for name in names}
    of_recbole |= {"model", "dataset", "config_files", "device"}
    shown = ("learner", "learning_rate", "train_batch_size")
    values = {
        name: value
        for name, value in config.final_config_dict.items()
        if name in shown or name not in of_recbole
    }
    plain = (bool, str, float, int, type(None))
    return {name: v if isinstance(v, plain) else str(v) for name, v in values.items()}
