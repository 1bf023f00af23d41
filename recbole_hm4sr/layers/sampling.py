"""Negative sampling: by popularity for the sampled softmax, and uniform."""

import math

import torch
from torch import Tensor, nn


class NegativeSampler(nn.Module):
    r"""Draws items with a probability that grows with how often they are a target.

    :math:`q_i \propto n_i + 1` for an item that is a target :math:`n_i` times in the training part:
    every item can be drawn, and what is often named wrongly is drawn often. Padding is never drawn.

    Args:
        counts: How often each item is a target. Shape ``[I]``, int64; entry 0 is padding.
        left_out: Items that are never drawn; None for none. Shape ``[X]``, int64.
    """

    log_probability: Tensor

    def __init__(self, counts: Tensor, left_out: Tensor | None = None) -> None:
        super().__init__()
        weights = counts.double() + 1
        weights[0] = 0
        if left_out is not None:
            weights[left_out] = 0
        share = weights / weights.sum()
        # On the host, where items are drawn: no attribute that goes to the device with the model.
        self._cumulative = share.cumsum(0).numpy(force=True)
        self.register_buffer("log_probability", share.log().float(), persistent=False)

    def forward(self, n: int) -> Tensor:
        """Draw items, with replacement; on the CPU. Shape ``[n]``, int64."""
        numbers = torch.rand(n, dtype=torch.float64, device="cpu")
        # The last sum may stay a rounding error below 1.
        cumulative = torch.from_numpy(self._cumulative)
        drawn = torch.searchsorted(cumulative, numbers, right=True)
        return drawn.clamp_(max=len(cumulative) - 1)

    def log_expected(self, drawn: Tensor) -> Tensor:
        """Logarithm of how often each drawn item is expected among them. Shape ``[n]``."""
        return self.log_probability[drawn] + math.log(len(drawn))


def draw_uniformly(n_items: int, *shape: int) -> Tensor:
    """Items drawn uniformly with replacement, never padding; on the CPU, int64.

    Args:
        n_items: I, padding included.
        *shape: Of the result.
    """
    return torch.randint(1, n_items, shape, device="cpu")
