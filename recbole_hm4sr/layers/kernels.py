"""Attention whose heads each read time in a way of their own (MEANTIME).

A kernel is what one head knows of when: of a token (``absolute``) or of two (``relative``). What
kernels make of times is computed once and shared by all layers; their maps are each layer's own.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import MultiHeadAttention
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.packing import Bucket
from recbole_hm4sr.layers.padded_rows import Arrangement

RelativeKernel = Literal["s", "e", "l"]


class KernelContext(NamedTuple):
    """What all blocks read besides the tokens.

    Attributes:
        packing: Arrangement of the tokens.
        absolute: What each absolute kernel says of a token. Each of shape ``[T, D]``.
        relative: What the R relative kernels say of two tokens, one tensor a bucket. Each of shape
            ``[R, b, w, w, D]``.
    """

    packing: Arrangement
    absolute: Sequence[Tensor]
    relative: Sequence[Tensor]


def relative_kernels(
    times: Tensor, packing: Arrangement, kinds: Sequence[RelativeKernel], width: int, unit: float
) -> list[Tensor]:
    r"""What relative kernels make of the time between two tokens.

    With :math:`\Delta` the signed difference in units: ``s`` is sine and cosine of
    :math:`\Delta \cdot 10000^{-2m/D}`, ``e`` is :math:`e^{-|\Delta| g_m}` and ``l`` is
    :math:`\ln(1 + |\Delta| g_m)` with :math:`g_m = 10000^{-m/D}`.

    Args:
        times: In seconds. Shape ``[T]``, int64.
        packing: Arrangement of the tokens.
        kinds: R of them.
        width: D, even for ``s``.
        unit: Seconds a unit.

    Returns:
        One a bucket. Each of shape ``[R, b, w, w, D]``, float64: in float32 the phase of a sine of
        years is rounded by days.
    """
    steps = torch.arange(width, dtype=torch.float64, device=times.device)
    decay = 10000.0 ** (-steps / width)
    frequency = 10000.0 ** (-2 * steps[: width // 2] / width)

    def of_kind(kind: RelativeKernel, delta: Tensor) -> Tensor:
        if kind == "s":
            angles = delta * frequency
            return torch.cat([angles.sin(), angles.cos()], dim=-1)
        scaled = delta.abs() * decay
        return (-scaled).exp() if kind == "e" else scaled.log1p()

    found = []
    for rows in packing.spread(times):
        delta = ((rows[:, :, None] - rows[:, None]).double() / unit)[..., None]  # [b, w, w, 1]
        made = [of_kind(kind, delta) for kind in kinds]
        empty = delta.new_empty(0, *delta.shape[:3], width)
        found.append(torch.stack(made) if made else empty)
    return found


class _RelativeTerms:
    """Terms of the relative heads of one layer in one bucket, as ``PairRows``."""

    def __init__(self, layer: "KernelAttention", kernels: Tensor, bucket: Bucket) -> None:
        self._layer, self._kernels, self._bucket = layer, kernels, bucket

    def scores(self, query: Tensor) -> Tensor:
        """``(Q + beta) . (C phi + c)`` without a map of each pair; nothing for absolute heads."""
        n_absolute = query.shape[1] - len(self._kernels)
        shape = (*query.shape[:3], self._kernels.shape[3])
        terms = [query.new_zeros(shape)[:, :n_absolute]]
        for number, (phi, linear) in enumerate(
            zip(self._kernels, self._layer.relative_keys, strict=True)
        ):
            own = query[:, n_absolute + number] + self._layer.relative_bias[number]  # [b, q, d]
            mapped = own @ linear.weight  # [b, q, D]
            term = (phi @ mapped[..., None])[..., 0] + (own @ linear.bias)[..., None]
            terms.append(term[:, None])
        return torch.cat(terms, dim=1)

    def values(self, weights: Tensor) -> None:
        """Nothing is added to values."""

    def at_last(self) -> "_RelativeTerms":
        """The terms of the newest token of each row."""
        kernels = self._kernels
        last = self._bucket.last_position()[None, :, None, None, None]
        index = last.expand(len(kernels), -1, 1, *kernels.shape[3:])
        return _RelativeTerms(self._layer, kernels.gather(2, index), self._bucket)


class KernelAttention(MultiHeadAttention):
    r"""Bidirectional attention with one head for each kernel, absolute ones first.

    .. math:: s_{ij} = (Q_i + A k_i + a) \cdot (K_j + B k_j + b), \quad
        s_{ij} = Q_i \cdot K_j + (Q_i + \beta) \cdot (C \varphi_{ij} + c)

    Args:
        hidden_size: D.
        n_absolute: Absolute kernels.
        n_relative: Relative kernels.
        attn_dropout_prob: Dropout of the attention weights.
    """

    def __init__(
        self, *, hidden_size: int, n_absolute: int, n_relative: int, attn_dropout_prob: float
    ) -> None:
        n_heads = n_absolute + n_relative
        super().__init__(
            hidden_size=hidden_size, n_heads=n_heads, attn_dropout_prob=attn_dropout_prob
        )
        width = hidden_size // n_heads

        def maps(n: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(hidden_size, width) for _ in range(n))

        self.absolute_queries, self.absolute_keys = maps(n_absolute), maps(n_absolute)
        self.relative_keys = maps(n_relative)
        self.relative_bias = nn.ParameterList(torch.zeros(width) for _ in range(n_relative))

    def forward(self, x: Tensor, context: KernelContext) -> Tensor:
        """Attend at every token. Shapes ``[T, D]`` to ``[T, D]``."""
        packing = context.packing
        query = self.query(x) + self._absolute(self.absolute_queries, context.absolute)
        rows = packing.spread(torch.cat([query, self._keys(x, context), self.value(x)], dim=-1))
        mixed = [
            self._attend(
                *block.chunk(3, dim=-1),
                mask=bucket.padding_bias[:, None],
                pairs=_RelativeTerms(self, kernels, bucket),
                sink=None,
            )
            for block, kernels, bucket in zip(rows, context.relative, packing.buckets, strict=True)
        ]
        return self.output(packing.collect(mixed))

    def at_last(self, newest: Tensor, x: Tensor, context: KernelContext) -> Tensor:
        """Attend at the last token of each sequence. Shape ``[B, D]``."""
        packing = context.packing
        absolute = [kernel.index_select(0, packing.last) for kernel in context.absolute]
        query = self.query(newest) + self._absolute(self.absolute_queries, absolute)
        rows = packing.spread(torch.cat([self._keys(x, context), self.value(x)], dim=-1))
        mixed = [
            self._attend(
                own[:, None],
                *block.chunk(2, dim=-1),
                mask=bucket.padding_bias[:, None],
                pairs=_RelativeTerms(self, kernels, bucket).at_last(),
                sink=None,
            )[:, 0]
            for own, block, kernels, bucket in zip(
                packing.spread_sequences(query),
                rows,
                context.relative,
                packing.buckets,
                strict=True,
            )
        ]
        return self.output(packing.collect_sequences(mixed))

    def _keys(self, x: Tensor, context: KernelContext) -> Tensor:
        return self.key(x) + self._absolute(self.absolute_keys, context.absolute)

    def _absolute(self, maps: nn.ModuleList, kernels: Sequence[Tensor]) -> Tensor:
        """What absolute kernels add to their heads, zeros for the others. Shape ``[N, D]``."""
        parts = [linear(kernel) for linear, kernel in zip(maps, kernels, strict=True)]
        if not parts:
            return self.query.bias.new_zeros(1, self.query.out_features)
        width = self.query.out_features // self.n_heads * len(self.relative_keys)
        return F.pad(torch.cat(parts, dim=-1), (0, width))


class KernelBlock(nn.Module):
    """The pre-norm block of MEANTIME.

    Args:
        attention: Over packed tokens.
        hidden_size: D; the width between the two maps is four times that.
        hidden_dropout_prob: Dropout of both sub-layers, inside the second, and of the output.
        layer_norm_eps: Added to the variance.
    """

    def __init__(
        self,
        *,
        attention: KernelAttention,
        hidden_size: int,
        hidden_dropout_prob: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.inner = nn.Linear(hidden_size, 4 * hidden_size)
        self.outer = nn.Linear(4 * hidden_size, hidden_size)
        self.dropout = Dropout(hidden_dropout_prob)

    def forward(self, x: Tensor, context: KernelContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        return self._feed_forward(x + self.dropout(self.attention(self.attention_norm(x), context)))

    def at_last(self, x: Tensor, context: KernelContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        normed, last = self.attention_norm(x), context.packing.last
        mixed = self.attention.at_last(normed.index_select(0, last), normed, context)
        return self._feed_forward(x.index_select(0, last) + self.dropout(mixed))

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(self.inner(self.norm(x)), approximate="tanh")
        x = x + self.dropout(self.outer(self.dropout(inner)))
        return self.dropout(x)
