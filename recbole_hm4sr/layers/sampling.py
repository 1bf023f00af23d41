"""Items drawn as candidates of a sampled softmax."""

import math

import torch
from torch import Tensor, nn


class NegativeSampler(nn.Module):
    r"""Draws items with a probability that grows with how often they are a target.

    :math:`q_i \propto n_i + 1` for an item that is a target :math:`n_i` times in the training part:
    every item can be drawn, and what is often named wrongly is drawn often. Padding is never drawn.

    Args:
        counts: How often each item is a target. Shape ``[I]``, int64; entry 0 is padding.
    """

    cumulative: Tensor
    log_probability: Tensor

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        weights = counts.double() + 1
        weights[0] = 0
        share = weights / weights.sum()
        self.register_buffer("cumulative", share.cumsum(0), persistent=False)
        self.register_buffer("log_probability", share.log().float(), persistent=False)

    def forward(self, n: int) -> Tensor:
        """Draw items, with replacement. Shape ``[n]``, int64."""
        numbers = torch.rand(n, dtype=torch.float64, device=self.cumulative.device)
        # The last sum may stay a rounding error below 1.
        last = len(self.cumulative) - 1
        return torch.searchsorted(self.cumulative, numbers, right=True).clamp_(max=last)

    def log_expected(self, drawn: Tensor) -> Tensor:
        """Logarithm of how often each drawn item is expected among them. Shape ``[n]``."""
        return self.log_probability[drawn] + math.log(len(drawn))
