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


def slices(n: int, step: int) -> list[slice]:
    """The numbers below n in consecutive parts of a length; the last may be shorter."""
    return [slice(begin, min(begin + step, n)) for begin in range(0, n, step)]


def within(part: slice, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of a row and a number that is in a slice, counted from its begin."""
    inside = ((numbers >= part.start) & (numbers < part.stop)).nonzero()[:, 0]
    return rows[inside], numbers[inside] - part.start
