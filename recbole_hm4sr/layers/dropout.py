"""Dropout with cheap random numbers on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Module):
    """Sets entries to zero with a probability and scales the others, as ``nn.Dropout`` does.

    On a CPU drawing the mask takes longer than a matrix product. Here one random 64-bit integer
    decides four entries, 16 bits each, so the probability is a multiple of 1/65,536; other devices
    take torch's own way.

    Args:
        prob: Probability of zero, in [0, 1).
    """

    def __init__(self, prob: float) -> None:
        super().__init__()
        self.prob = prob

    def extra_repr(self) -> str:
        """What ``print(model)`` shows in the parentheses."""
        return f"prob={self.prob}"

    def forward(self, x: Tensor) -> Tensor:
        """Shapes ``[...]`` to ``[...]``."""
        if not self.training or not self.prob:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.prob)
        return x * keep_mask(x, self.prob)


def keep_mask(x: Tensor, prob: float) -> Tensor:
    """Zero with a probability, else what keeps the mean; of the shape and dtype of ``x``."""
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    numbers.random_(-(2**63), None)  # all 64 bits
    lanes = numbers.view(torch.int16)[: x.numel()].view(x.shape)
    dropped = min(round(prob * _LEVELS), _LEVELS - 1)  # one level is always kept
    kept = lanes >= dropped - _LEVELS // 2
    # Converted as bytes: the conversion of bools takes five times as long.
    return kept.view(torch.uint8).to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
