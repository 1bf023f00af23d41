"""An exponential moving average of the weights, which is what a run measures and keeps."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""The moving average :math:`a \leftarrow d\,a + (1 - d)\,w` of the trained weights.

    In step t, from 1, d is the smaller of ``decay`` and :math:`(1 + t) / (10 + t)`, so that the
    first weights, drawn at random, are soon forgotten. Buffers are not averaged.

    Args:
        model: Its weights are averaged from what they are now.
        decay: In [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._n_steps = 0
        self._trained = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._average = [weight.detach().clone() for weight in self._trained.values()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the average."""
        self._n_steps += 1
        decay = min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))
        torch._foreach_lerp_(self._average, list(self._trained.values()), 1 - decay)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """A context in which the model has the average in place of its weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for weight, other in zip(self._trained.values(), self._average, strict=True):
            kept = weight.clone()
            weight.copy_(other)
            other.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs besides the average, asked for inside :meth:`in_model`.

        The average is then in the model, whose weights the checkpoint holds.
        """
        weights = {
            name: value.clone() for name, value in zip(self._trained, self._average, strict=True)
        }
        return {"n_steps": self._n_steps, "weights": weights}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint whose average is in the model; the model gets its weights.

        Args:
            state: Of :meth:`state_dict`.
        """
        self._n_steps = state["n_steps"]
        weights: Mapping[str, Tensor] = state["weights"]
        for (name, weight), average in zip(self._trained.items(), self._average, strict=True):
            average.copy_(weight)
            weight.copy_(weights[name])
