"""How much the dense part of a score counts beside a memory, chosen on validation.

A dense part grows old: in the weeks after training a memory that is kept up to the request ranks
better without it, right after training better with it. Training cannot tell: its rows are as old as
the dense part. So each validation tries a few weights and keeps the best with the model.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class DenseWeight(nn.Module):
    """The weight of the dense part in each view of a model, of a few that are tried.

    Args:
        tried: Weights, rising; 1 among them, where each view begins.
        n_views: Views in which the model is measured.
        bigger: Whether a bigger validation score is better.
    """

    values: Tensor
    is_chosen: Tensor

    def __init__(self, tried: Sequence[float], n_views: int, *, bigger: bool) -> None:
        super().__init__()
        self.tried, self._bigger = tuple(tried), bigger
        self.register_buffer("values", torch.ones(n_views))
        # Saved: which views have begun to search decides what a resumed run tries next.
        self.register_buffer("is_chosen", torch.zeros(n_views, dtype=torch.bool))

    def choose(self, view: int, measure: Callable[[], float]) -> None:
        """Choose the weight of a view: at first of all, later of the current one's neighbours.

        Args:
            view: Number of the view.
            measure: The validation score of the model as it is.
        """
        if len(self.tried) == 1:
            return
        numbers = range(len(self.tried))
        if self.is_chosen[view]:
            now = self._number(view)
            numbers = range(max(0, now - 1), min(len(self.tried), now + 2))
        scores = {}
        for number in numbers:
            self.values[view] = self.tried[number]
            scores[number] = measure() if self._bigger else -measure()
        # Of equal scores the larger weight: the one that training has seen.
        best = max(scores, key=lambda number: (scores[number], number))
        self.values[view] = self.tried[best]
        self.is_chosen[view] = True

    def _number(self, view: int) -> int:
        """Which of the tried weights a view has."""
        distances = [abs(value - float(self.values[view])) for value in self.tried]
        return distances.index(min(distances))
