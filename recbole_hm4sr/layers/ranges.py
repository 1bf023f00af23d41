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
    number = torch.repeat_interleave(torch.arange(len(begins), device=begins.device), lengths)
    first = lengths.cumsum(0) - lengths
    steps = torch.arange(len(number), device=begins.device) - first[number]
    return number, steps + begins[number]
