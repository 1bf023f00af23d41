"""How much the dense part of a score counts beside a memory, chosen on validation.

A dense part grows old: in the weeks after training a memory that is kept up to the request ranks
better without it, right after training better with it. Training cannot tell: its rows are as old as
the dense part. So each validation tries a few weights and keeps the best with the model.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from recbole_hm4sr.model.capabilities import View


class DenseWeight(nn.Module):
    """The weight of the dense part in each view of a model, of a few that are tried.

    Args:
        tried: Weights, rising; 1 among them, where each view begins.
        n_views: Views in which the model is measured.
    """

    values: Tensor
    is_chosen: Tensor

    def __init__(self, tried: Sequence[float], n_views: int) -> None:
        super().__init__()
        self.tried = tuple(tried)
        self.register_buffer("values", torch.ones(n_views))
        # Saved: which views have begun to search decides what a resumed run tries next.
        self.register_buffer("is_chosen", torch.zeros(n_views, dtype=torch.bool))

    def choices(self, view: int) -> tuple[View, ...]:
        """The weights to choose from: at first all, later the current one and its neighbours.

        They rise: of equal ones the largest is chosen, which is nearest to what training has seen.

        Args:
            view: Number of the view.

        Returns:
            Each with a context in which the view has that weight; none where there is no choice.
        """
        if len(self.tried) == 1:
            return ()
        numbers = range(len(self.tried))
        if self.is_chosen[view]:
            now = self._number(view)
            numbers = range(max(0, now - 1), min(len(self.tried), now + 2))
        return tuple(View(str(number), partial(self._at, view, number)) for number in numbers)

    @contextlib.contextmanager
    def _at(self, view: int, number: int) -> Iterator[None]:
        before = float(self.values[view])
        self.values[view] = self.tried[number]
        try:
            yield
        finally:
            self.values[view] = before

    def choose(self, view: int, name: str) -> None:
        """Keep one of the choices.

        Args:
            view: Number of the view.
            name: Of one of :meth:`choices`.
        """
        self.values[view] = self.tried[int(name)]
        self.is_chosen[view] = True

    def _number(self, view: int) -> int:
        """Which of the tried weights a view has."""
        distances = [abs(value - float(self.values[view])) for value in self.tried]
        return distances.index(min(distances))
