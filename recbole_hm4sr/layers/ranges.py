"""Positions of many ranges at once."""

import torch
from torch import Tensor


def whole_numbers(below: int) -> torch.dtype:
    """The shorter of int32 and int64 that holds all whole numbers below one.

    Where millions of them are read, half the bytes are less time.
    """
    return torch.int32 if below <= 2**31 else torch.int64


def expand_ranges(
    begins: Tensor, ends: Tensor, *, dtype: torch.dtype = torch.int64
) -> tuple[Tensor, Tensor]:
    """All positions of ranges, range after range.

    Args:
        begins: First position of each range. Shape ``[Q]``, int64.
        ends: Position after the last. Shape ``[Q]``, int64.
        dtype: Of the positions, and it must hold their number too.

    Returns:
        The number of the range, int64, and the position, of shape ``[E]`` each.
    """
    lengths = ends - begins
    numbers = torch.repeat_interleave(lengths)
    shifts = (begins - (lengths.cumsum(0) - lengths)).to(dtype)
    positions = torch.arange(len(numbers), dtype=dtype, device=begins.device)
    return numbers, positions.add_(shifts.index_select(0, numbers))


def slices(n: int, step: int) -> list[slice]:
    """The numbers below n in consecutive parts of a length; the last may be shorter."""
    return [slice(begin, min(begin + step, n)) for begin in range(0, n, step)]


def within(part: slice, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of a row and a number that is in a slice, counted from its begin."""
    inside = ((numbers >= part.start) & (numbers < part.stop)).nonzero()[:, 0]
    return rows[inside], numbers[inside] - part.start
