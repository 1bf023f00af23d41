"""The best epoch so far of each view of a model, and when none gets better any more."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from recbole.utils import early_stopping

from recbole_hm4sr.train.epochs import Validation


class BestEpoch:
    """The best epoch so far of one view, by RecBole's ``early_stopping``.

    Args:
        config: RecBole ``Config``.

    Attributes:
        score: Value of ``valid_metric`` in it; the worst possible before the first.
        valid: All its validation metrics; None before the first.
    """

    def __init__(self, config: Any) -> None:
        self._metric: str = config["valid_metric"].lower()
        self._bigger: bool = config["valid_metric_bigger"]
        self._max_step: int = config["stopping_step"]
        self.score: float = -np.inf if self._bigger else np.inf
        self.valid: dict[str, float] | None = None
        self._n_worse = 0  # validations since the best one

    @property
    def is_over(self) -> bool:
        """Whether it has been the best for more than ``stopping_step`` validations."""
        return self._n_worse > self._max_step

    def judge(self, metrics: Mapping[str, Any]) -> Validation:
        """Whether an epoch is the best so far; equal to the best is better.

        Args:
            metrics: Of its validation.
        """
        score = float(metrics[self._metric])
        valid = {name: float(value) for name, value in metrics.items()}
        self.score, self._n_worse, _, is_best = early_stopping(
            score, self.score, self._n_worse, max_step=self._max_step, bigger=self._bigger
        )
        if is_best:
            self.valid = valid
        return Validation(score, valid, is_best)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "cur_step": self._n_worse,
            "best_valid_score": float(self.score),
            "best_valid_result": dict(self.valid or {}),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint has kept."""
        self._n_worse = state["cur_step"]
        self.score = state["best_valid_score"]
        self.valid = state["best_valid_result"]


class BestEpochs:
    """The best epochs of all views of a model. The first view's stands for the run.

    Args:
        config: RecBole ``Config``.
        names: Of the views.
    """

    def __init__(self, config: Any, names: Sequence[str]) -> None:
        self._first = names[0]
        self._of_views = {name: BestEpoch(config) for name in names}

    def __getitem__(self, name: str) -> BestEpoch:
        return self._of_views[name]

    @property
    def first(self) -> BestEpoch:
        """That of the first view."""
        return self._of_views[self._first]

    @property
    def are_over(self) -> bool:
        """Whether no view has improved for more than ``stopping_step`` validations."""
        return all(best.is_over for best in self._of_views.values())

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: ``views`` only where there are more than one."""
        others = {
            name: best.state() for name, best in self._of_views.items() if name != self._first
        }
        return {**self.first.state(), **({"views": others} if others else {})}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint has kept."""
        self.first.set_state(state)
        for name, own in state.get("views", {}).items():
            self._of_views[name].set_state(own)
