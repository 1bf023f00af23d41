"""One step of training: losses, gradients, and one wait for the device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from recbole_hm4sr.layers.transfer import Pending
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.rows import without_gathering
from recbole_hm4sr.parallel.shards import shards_of
from recbole_hm4sr.parallel.training import JoinedLosses, NamedLosses
from recbole_hm4sr.train.diagnose import refuse_losses
from recbole_hm4sr.train.precision import Precision


class TrainStep:
    """Trains a model on a batch of which this process may hold a share.

    Args:
        model: The model, in training mode.
        optimizer: Holds its parameters.
        precision: What the losses are computed in.
        named_losses: Computes them from a batch.
        clip_grad_norm: Arguments of torch's ``clip_grad_norm_``; None or empty for no clipping.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        named_losses: NamedLosses,
        *,
        clip_grad_norm: Mapping[str, Any] | None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._precision = precision
        self._named_losses = named_losses
        self._joined_losses = JoinedLosses(model, named_losses)
        self._clip_grad_norm = clip_grad_norm

    def find_gradients(self, batch: Any, n_rows: int) -> tuple[dict[str, Tensor], Pending]:
        """Compute the gradients of a batch.

        Args:
            batch: The own share, on the device.
            n_rows: Samples of the whole batch.

        Returns:
            The losses by name, and whether they are finite in all processes: known before the
            gradients are, so that waiting for the answer does not wait for those.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with self._precision.autocast():
            losses = self._joined_losses(batch, n_rows)
            each = torch.stack(list(losses.values()))
            loss = each.sum()
        finite = Pending(processes.true_everywhere(each.detach().isfinite().all()))
        self._precision.backward(loss)
        if self._clip_grad_norm:
            self._precision.unscale(self._optimizer)
            clip_grad_norm_(self._model.parameters(), **self._clip_grad_norm)
        return losses, finite

    def move_weights(self) -> None:
        """Let the optimizer move the weights."""
        self._precision.step(self._optimizer)

    def refuse(self, losses: dict[str, Tensor], moment: str, batch: Any, dataset: Any) -> None:
        """End the run, in all processes, where a loss of one of them is not finite.

        Each looks for the cause among its own rows, so that none waits for another's computation.

        Args:
            losses: Of this process; may all be finite.
            moment: Epoch and step, in words.
            batch: The own share.
            dataset: Knows the raw tokens.

        Raises:
            TrainingError: Names losses, layer and row, or the process that did.
        """

        def losses_of(part: Any) -> dict[str, Tensor]:
            with self._precision.autocast(), without_gathering():
                return self._named_losses(part)

        alone_can = shards_of(self._model) is None
        alone = " and without the rows of other processes" * (processes.world_size() > 1)
        again = f"with other dropout{alone}"
        with processes.failing_together(patient=True):
            how = losses_of if alone_can else None
            refuse_losses(losses, moment, self._model, batch, how, dataset, again=again)
