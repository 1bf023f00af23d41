"""Rows of cross-attention: tokens of a second sequence, found by the buckets of the first."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement, PaddedRows


class CrossBucket(NamedTuple):
    """The source tokens of the sequences of one bucket, as padded rows.

    Attributes:
        tokens: Number of the source token in each cell; any where the cell is padding. Shape
            ``[b, s]``, int64.
        padding_bias: Minus infinity where the cell is padding, else 0. Shape ``[b, s]``, float32.
    """

    tokens: Tensor
    padding_bias: Tensor


def cross_buckets(packing: Arrangement, sources: Arrangement) -> tuple[CrossBucket, ...]:
    """Where the sequences of each bucket find their source tokens.

    Shapes depend on values, so on a GPU it would wait: made on the CPU, then sent.

    Args:
        packing: Arrangement of the tokens that attend.
        sources: Arrangement of the source tokens of the same sequences.

    Raises:
        ValueError: If a sequence has no source: it would have nothing to attend to.
    """
    is_fixed = isinstance(sources, PaddedRows)
    if not is_fixed and len(sources.lengths) and int(sources.lengths.min()) < 1:
        raise ValueError("every sequence must have a source token, got one without")
    firsts = sources.last - sources.lengths + 1
    buckets = []
    for bucket in packing.buckets:
        lengths = sources.lengths.index_select(0, bucket.sequences)[:, None]
        width = sources.max_length if isinstance(sources, PaddedRows) else int(lengths.max())
        steps = torch.arange(width, device=lengths.device)
        inside = steps < lengths  # [b, s]
        tokens = firsts.index_select(0, bucket.sequences)[:, None] + steps
        bias = torch.zeros(inside.shape, device=lengths.device).masked_fill(~inside, -torch.inf)
        buckets.append(CrossBucket(torch.where(inside, tokens, 0), bias))
    return tuple(buckets)


class CrossRows(NamedTuple):
    """What cross-attention reads: tokens of a second sequence for each sequence.

    Attributes:
        tokens: All source tokens. Shape ``[S, D]``.
        buckets: Of :func:`cross_buckets`.
    """

    tokens: Tensor
    buckets: Sequence[CrossBucket]
