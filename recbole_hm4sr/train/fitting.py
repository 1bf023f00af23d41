"""The trainer of models that are fitted once: one epoch, no optimizer, the same files."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.parallel.training import seed_epoch
from recbole_hm4sr.train.trainer import Trainer


class FittingTrainer(Trainer):
    """Fits a model in one epoch, which is validated and kept like any other.

    ``epochs`` and what steps the optimizer are not read. Each process of ``torchrun`` fits the
    model by itself; they share the evaluation.
    """

    def _prepare_steps(self, amp_dtype: Any) -> None:
        """There are no steps."""
        del amp_dtype
        self.max_epochs = 1

    def train_epoch(self, train_data: Any, epoch: int) -> dict[str, float]:
        """Fit the model.

        Args:
            train_data: The training loader; its data set is read as a whole.
            epoch: 0.

        Returns:
            No losses.
        """
        seed_epoch(self.config["seed"], epoch)
        self.model.fit(train_data._dataset)
        return {}

    def _rates(self) -> list[float]:
        """There are none."""
        return []

    def _state_of_steps(self) -> dict[str, Any]:
        return {}

    def _set_state_of_steps(self, state: Mapping[str, Any]) -> None:
        del state
