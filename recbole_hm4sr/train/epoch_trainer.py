"""Trains a model for single epochs, and writes nothing."""

from typing import Any

from torch import Tensor

from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.evaluate.step_bar import StepBar
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.training import rows_of_step, seed_epoch
from recbole_hm4sr.train.diagnose import refuse_state
from recbole_hm4sr.train.optimizer import build_optimizer
from recbole_hm4sr.train.precision import Precision
from recbole_hm4sr.train.step import TrainStep


class EpochTrainer:
    """Trains a model for single epochs; its optimizer begins fresh.

    Args:
        config: RecBole ``Config``.
        model: Any RecBole recommender; see :class:`~recbole_hm4sr.train.trainer.Trainer`.
        amp_dtype: What ``enable_amp`` computes in.
        step_bar: Counts the steps of an epoch.
    """

    def __init__(
        self,
        config: Any,
        model: Any,
        *,
        amp_dtype: Any = "bfloat16",
        step_bar: StepBar | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.device = config["device"]
        self._step_bar = step_bar or StepBar()
        self._prepare_steps(amp_dtype)

    def _prepare_steps(self, amp_dtype: Any) -> None:
        """What the steps of an epoch need: optimizer and precision."""
        config = self.config
        self.optimizer = build_optimizer(config, self.model)
        self.precision = Precision(self.device, enabled=config["enable_amp"], dtype=amp_dtype)
        self.step = TrainStep(
            self.model,
            self.optimizer,
            self.precision,
            self._named_losses,
            clip_grad_norm=config["clip_grad_norm"],
        )

    def train_epoch(self, train_data: Any, epoch: int) -> dict[str, float]:
        """Train one epoch.

        Args:
            train_data: The training loader.
            epoch: From 0.

        Returns:
            Each named loss, mean over the steps.

        Raises:
            TrainingError: If a loss, a weight or a gradient is not finite.
        """
        seed_epoch(self.config["seed"], epoch)
        if hasattr(self.model, "begin_epoch"):
            self.model.begin_epoch(epoch + 1, train_data._dataset)
        self.model.train()
        totals: dict[str, Tensor] = {}
        n_steps = 0
        batches = self._step_bar.over(train_data, f"epoch {epoch + 1}")
        for n_steps, interaction in enumerate(batches, start=1):
            self._begin_step(epoch * len(train_data) + n_steps - 1, len(train_data))
            batch = send_batch(interaction, self.device)
            losses, finite = self.step.find_gradients(batch, rows_of_step(train_data, n_steps))
            if not finite:
                moment = f"epoch {epoch + 1}, step {n_steps}"
                self.step.refuse(losses, moment, batch, train_data._dataset)
            self.step.move_weights()
            self._end_step()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        with processes.failing_together():  # where they hold other items
            refuse_state(self.model, self.optimizer, f"epoch {epoch + 1}")
        totals = {name: processes.mean_over_processes(total) for name, total in totals.items()}
        return {name: float(total) / max(n_steps, 1) for name, total in totals.items()}

    def _begin_step(self, number: int, n_steps: int) -> None:
        """Called before each step.

        Args:
            number: Of the step, from 0; all epochs count.
            n_steps: Steps of an epoch.
        """

    def _end_step(self) -> None:
        """Called after each step."""

    def _named_losses(self, batch: Any) -> dict[str, Tensor]:
        if hasattr(self.model, "named_losses"):
            return dict(self.model.named_losses(batch))
        losses = self.model.calculate_loss(batch)
        if isinstance(losses, tuple):
            return {f"loss_{number}": value for number, value in enumerate(losses, start=1)}
        return {"loss": losses}
