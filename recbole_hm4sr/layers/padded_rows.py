"""Padded rows: the interface of a packing where every shape must be fixed.

A model written for a :class:`~recbole_hm4sr.layers.packing.Packing` runs on these rows unchanged: a
token is a position of a row, padding included, and there is one bucket. Its shapes follow from the
input's, so the model can be exported.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from recbole_hm4sr.layers.packing import Bucket, Packing


class PaddedRows:
    """Rows of one length, padded on the right, with the interface of a ``Packing``.

    Args:
        lengths: Valid positions of each row, at least 1. Shape ``[B]``, int64.
        max_length: L, the length of the rows.
    """

    rounded = None  # these shapes recur as they are

    def __init__(self, lengths: Tensor, max_length: int) -> None:
        steps = torch.arange(max_length, device=lengths.device)
        n_rows = lengths.shape[0]
        rows = torch.arange(n_rows, device=lengths.device)
        self.lengths = lengths
        self.max_length = max_length
        self.position = steps.repeat(n_rows)  # [B * L]
        self.sequence = rows[:, None].repeat(1, max_length).flatten()  # [B * L]
        self.last = rows * max_length + lengths - 1  # [B]
        is_later = steps > steps[:, None]
        is_padding = steps >= lengths[:, None]
        self.buckets = (
            Bucket(
                sequences=rows,
                tokens=torch.arange(n_rows * max_length, device=lengths.device).view(
                    n_rows, max_length
                ),
                padding_bias=_hidden(is_padding),
                causal_bias=_hidden(is_later),
            ),
        )

    def pack(self, padded: Tensor) -> Tensor:
        """The positions of a ``[B, L, ...]`` batch. Shape ``[B * L, ...]``."""
        return padded.flatten(0, 1)

    def spread(self, tokens: Tensor) -> list[Tensor]:
        """``[B * L, ...]`` as the rows of the one bucket, ``[B, L, ...]``."""
        return [tokens.unflatten(0, (-1, self.max_length))]

    def collect(self, blocks: list[Tensor]) -> Tensor:
        """Rows of the one bucket, ``[B, L, ...]``, as ``[B * L, ...]``."""
        return blocks[0].flatten(0, 1)

    def spread_sequences(self, vectors: Tensor) -> list[Tensor]:
        """One vector a sequence, ``[B, ...]``, as those of the one bucket."""
        return [vectors]

    def collect_sequences(self, blocks: list[Tensor]) -> Tensor:
        """Vectors of the one bucket, ``[B, ...]``, as those of all sequences."""
        return blocks[0]


Arrangement: TypeAlias = Packing | PaddedRows


def _hidden(flags: Tensor) -> Tensor:
    """Minus infinity where a flag is set, else 0; float32."""
    return torch.zeros(flags.shape, device=flags.device).masked_fill(flags, -torch.inf)
