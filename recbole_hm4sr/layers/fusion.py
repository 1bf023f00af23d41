"""Fusion of streams: one row of numbers from several of the same length (DIF-SR, NOVA).

A stream's row may be a token's vector or a query's scores of its keys. Rows of scores may be
shorter than the layer's width: then only the first columns of its weights act, as with zeros
behind the row.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

FusionKind = Literal["sum", "concat", "gate"]


class StreamSum(nn.Module):
    """The sum of the streams."""

    def forward(self, streams: Tensor) -> Tensor:
        """Shapes ``[S, ..., w]`` to ``[..., w]``."""
        return streams.sum(dim=0)


class StreamConcat(nn.Linear):
    """A linear map of the streams side by side.

    Args:
        n_streams: S.
        size: L, the longest row.
    """

    def __init__(self, n_streams: int, size: int) -> None:
        super().__init__(n_streams * size, size)

    def forward(self, streams: Tensor) -> Tensor:
        """Shapes ``[S, ..., w]`` to ``[..., w]``."""
        width = streams.shape[-1]
        weight = self.weight.unflatten(1, (len(streams), -1))[:width, :, :width]  # [w, S, w]
        rows = streams.movedim(0, -2).flatten(-2)  # [..., S * w]
        return F.linear(rows, weight.flatten(1), self.bias[:width])


class StreamGate(nn.Module):
    r"""The streams weighed by what their rows say.

    .. math:: e_s = g_2 \cdot relu(G_1 x_s + b_1), \quad \sum_s softmax_s(e)\, x_s

    Args:
        size: L, the longest row.

    Differs from the authors' code:
        There the energies have a bias, the same of all streams, which no softmax sees.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)
        self.energy = nn.Linear(size, 1, bias=False)

    def forward(self, streams: Tensor) -> Tensor:
        """Shapes ``[S, ..., w]`` to ``[..., w]``."""
        inner = F.linear(streams, self.inner.weight[:, : streams.shape[-1]], self.inner.bias)
        weights = self.energy(F.relu(inner)).softmax(dim=0)  # [S, ..., 1]
        return (weights * streams).sum(dim=0)


def build_fusion(kind: FusionKind, *, n_streams: int, size: int) -> nn.Module:
    """The fusion of some streams.

    Args:
        kind: Of fusion.
        n_streams: S.
        size: L, the longest row.
    """
    if kind == "concat":
        return StreamConcat(n_streams, size)
    return StreamGate(size) if kind == "gate" else StreamSum()
