r"""Convolutions over the window of a sequence, as products with cosines and sines.

A circular convolution over L positions is a product of transforms. L is small, so the transforms
are matrix products, which every device and every exporter knows.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement


class Transform(NamedTuple):
    """Real Fourier transforms of length L, with the norm that keeps lengths.

    Attributes:
        cosines: Shape ``[Q, L]`` for Q = floor(L / 2) + 1 frequencies.
        sines: Shape ``[Q, L]``.
        weights: How often each frequency counts on the way back: twice but for 0 and L / 2. Shape
            ``[Q, 1]``.
    """

    cosines: Tensor
    sines: Tensor
    weights: Tensor

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the transform of ``[R, L, D]``, each ``[R, Q, D]``."""
        return self.cosines @ rows, -(self.sines @ rows)

    def back(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """From ``[R, Q, D]`` to ``[R, L, D]``; an imaginary part has no effect at 0 and L / 2."""
        real, imaginary = real * self.weights, imaginary * self.weights
        return self.cosines.mT @ real - self.sines.mT @ imaginary


def fourier_transform(length: int, like: Tensor) -> Transform:
    """The transform of a window.

    Args:
        length: L.
        like: Of the dtype and on the device of the result.
    """
    n_frequencies = length // 2 + 1
    # Whole turns are taken off before the angle is made, so that large products lose no digit.
    steps = torch.arange(length, device=like.device)
    turns = torch.arange(n_frequencies, device=like.device)[:, None] * steps % length
    angles = turns.double() * (2 * math.pi / length)
    weights = torch.full((n_frequencies, 1), 2.0, dtype=like.dtype, device=like.device)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    scale = length**-0.5
    return Transform(
        (angles.cos() * scale).to(like.dtype), (angles.sin() * scale).to(like.dtype), weights
    )


def as_windows(tokens: Tensor, packing: Arrangement, length: int) -> Tensor:
    """Tokens in rows of one length, with zeros behind the last. ``[T, D]`` to ``[B, L, D]``."""
    # A token of the padding, where there are any, adds nothing to the row of its sequence.
    is_real = packing.position < packing.lengths.index_select(0, packing.sequence)
    index = packing.sequence * length + packing.position
    rows = tokens.new_zeros(len(packing.lengths) * length, tokens.shape[1])
    rows = rows.index_add(0, index, tokens * is_real[:, None].to(tokens.dtype))
    return rows.unflatten(0, (-1, length))


def from_windows(rows: Tensor, packing: Arrangement) -> Tensor:
    """The rows of the tokens again. ``[B, L, D]`` to ``[T, D]``."""
    index = packing.sequence * rows.shape[1] + packing.position
    return rows.flatten(0, 1).index_select(0, index)
