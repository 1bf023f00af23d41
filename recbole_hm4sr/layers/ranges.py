"""Positions of many ranges at once."""

import torch
from torch import Tensor


def expand_ranges(begins: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """All positions of ranges, range after range.

    Args:
        begins: First position of each range. Shape ``[Q]``, int64.
        ends: Position after the last. Shape ``[Q]``, int64.

    Returns:
        The number of the range and the position, of shape ``[E]`` each, int64.
    """
    lengths = ends - begins
    numbers = torch.repeat_interleave(lengths)
    shifts = begins - (lengths.cumsum(0) - lengths)
    positions = torch.arange(len(numbers), device=begins.device)
    return numbers, positions.add_(shifts.index_select(0, numbers))
