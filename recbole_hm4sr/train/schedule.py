"""The learning rate of each step: a function of the step's number, so that nothing is kept of it.

Torch's schedulers move from the rate before; after a resumption they depend on what a checkpoint
has kept of them. These factors follow from the number of the step alone.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from recbole_hm4sr.config.settings import RunSettings

# Of torch's OneCycleLR: where the cycle begins, and how far below that it ends.
_BEGINS_AT = 1 / 25
_ENDS_AT = _BEGINS_AT / 1e4


def _warmup(step: int, n_rising: int, n_steps: int) -> float:
    """Rises along a line to 1, and stays."""
    del n_steps
    return min(1.0, (step + 1) / max(n_rising, 1))


def _cosine(step: int, n_rising: int, n_steps: int) -> float:
    """Rises along a line to 1, then falls along half a cosine towards 0."""
    if step < n_rising:
        return _warmup(step, n_rising, n_steps)
    return _half_cosine(1.0, 0.0, (step - n_rising) / max(n_steps - n_rising, 1))


def _one_cycle(step: int, n_rising: int, n_steps: int) -> float:
    """Rises along half a cosine to 1 in the last of the rising steps, then falls to almost 0."""
    top = max(n_rising - 1, 0)
    if step < top:
        return _half_cosine(_BEGINS_AT, 1.0, step / top)
    return _half_cosine(1.0, _ENDS_AT, (step - top) / max(n_steps - 1 - top, 1))


def _half_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2


_FACTORS: dict[str, Callable[[int, int, int], float]] = {
    "warmup": _warmup,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
_FALLING = ("cosine", "one_cycle")


class LearningRates:
    """Sets the learning rates of a run's steps, each group's in proportion to its own.

    Args:
        optimizer: Its groups have the rates that the schedule is a factor of.
        settings: ``lr_schedule``, ``lr_epochs``, ``lr_warmup``.

    Attributes:
        last_epoch: After which the rates have fallen; None if they do not fall.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: RunSettings) -> None:
        self._optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._factor = _FACTORS.get(settings.lr_schedule)
        self._n_epochs = settings.lr_epochs
        self._warmup = settings.lr_warmup
        falls = settings.lr_schedule in _FALLING
        self.last_epoch: int | None = settings.lr_epochs if falls else None

    def set(self, step: int, n_steps: int) -> None:
        """Set the rates of a step; a constant schedule leaves them as they are.

        Args:
            step: Number of the step in the run, from 0.
            n_steps: Steps of an epoch.
        """
        if self._factor is None:
            return
        n_all = self._n_epochs * n_steps
        factor = self._factor(step, round(self._warmup * n_all), n_all)
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * factor
