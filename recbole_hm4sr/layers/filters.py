"""Filters over the positions of a window, on packed tokens and without a Fourier transform.

A product with a spectrum over the L positions of a window is a circular convolution with a kernel
of L numbers. A bucket of shorter rows needs the kernel's first entries and its last ones, which
wrap: the position before the first is the last of the window. With zeros at the padding the result
is that of the whole window, wherever the row stands in it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.packing import Bucket
from recbole_hm4sr.layers.padded_rows import Arrangement


def kernel_of(spectrum: Tensor, length: int) -> Tensor:
    r"""The kernel of a half spectrum.

    .. math:: \kappa_t = \frac1L \sum_f m_f \Bigl( Re\, w_f \cos \frac{2 \pi f t}{L}
        - Im\, w_f \sin \frac{2 \pi f t}{L} \Bigr)

    with m 1 at frequency 0 and, for an even L, at L / 2, and else 2.

    Args:
        spectrum: w, real and imaginary part of the first F frequencies, at most L // 2 + 1, of each
            channel; the others are 0. Shape ``[F, D, 2]``.
        length: L, the length of the window.

    Returns:
        Shape ``[L, D]``.
    """
    frequencies = torch.arange(len(spectrum), device=spectrum.device)
    steps = torch.arange(length, device=spectrum.device)[:, None]
    # Whole turns leave the angle before it is rounded.
    angles = (steps * frequencies % length).to(spectrum.dtype) * (2 * math.pi / length)  # [L, F]
    is_single = (2 * frequencies) % length == 0  # 0 and L / 2, which have no imaginary part
    real, imaginary = spectrum.unbind(dim=-1)
    cosines = angles.cos() * torch.where(is_single, 1, 2)
    sines = angles.sin() * torch.where(is_single, 0, 2)
    return (cosines @ real - sines @ imaginary) / length


def low_pass(length: int, n_kept: int, like: Tensor) -> Tensor:
    """The kernel that keeps the lowest frequencies of a window.

    Args:
        length: L.
        n_kept: Frequencies that stay, the mean of the window the first; more than there are keep
            everything.
        like: Of the dtype and device of the result.

    Returns:
        Shape ``[L, 1]``: the same for all channels.
    """
    spectrum = like.new_zeros(min(n_kept, length // 2 + 1), 1, 2)
    spectrum[:, :, 0] = 1
    return kernel_of(spectrum, length)


def convolve(x: Tensor, kernel: Tensor, packing: Arrangement, *, causal: bool = False) -> Tensor:
    r"""Mix the tokens of each sequence: :math:`y_i = \sum_j \kappa_{(i - j) \bmod L}\, x_j`.

    Args:
        x: Tokens. Shape ``[T, D]``.
        kernel: One for each channel, ``[L, D]``, or for all, ``[L, 1]``.
        packing: Arrangement of the tokens.
        causal: Whether a token mixes itself and those before it only. Else all but the newest of a
            sequence read later ones too, by the end of the kernel.

    Returns:
        Shape ``[T, D]``.
    """
    mixed = []
    for block, bucket in zip(packing.spread(x), packing.buckets, strict=True):
        steps = torch.arange(block.shape[1], device=x.device)
        lags = steps[:, None] - steps  # [w, w]
        weights = F.embedding(lags % len(kernel), kernel)  # [w, w, D or 1]
        if causal:
            weights = weights * (lags >= 0).to(x.dtype)[..., None]
        mixed.append(_mix(weights, _without_padding(block, bucket)))
    return packing.collect(mixed)


def convolve_at_last(x: Tensor, kernel: Tensor, packing: Arrangement) -> Tensor:
    """What :func:`convolve` gives at the last token of each sequence, causal or not.

    Args:
        x: Tokens. Shape ``[T, D]``.
        kernel: Shape ``[L, D]`` or ``[L, 1]``.
        packing: Arrangement of the tokens.

    Returns:
        Shape ``[B, D]``.
    """
    mixed = []
    for block, bucket in zip(packing.spread(x), packing.buckets, strict=True):
        steps = torch.arange(block.shape[1], device=x.device)
        lags = bucket.last_position()[:, None] - steps  # [b, w]
        weights = F.embedding(lags % len(kernel), kernel)  # [b, w, D or 1]
        mixed.append((weights * _without_padding(block, bucket)).sum(dim=1))
    return packing.collect_sequences(mixed)


def _mix(weights: Tensor, block: Tensor) -> Tensor:
    """Weights of two positions, ``[w, w, D or 1]``, times tokens, ``[b, w, D]``."""
    if weights.shape[2] == 1:
        return weights[..., 0] @ block
    return torch.einsum("ijd,bjd->bid", weights, block)


def _without_padding(block: Tensor, bucket: Bucket) -> Tensor:
    """Rows of a bucket with zeros at their padding. Shape ``[b, w, D]``."""
    return block * (bucket.padding_bias == 0).to(block.dtype)[..., None]
