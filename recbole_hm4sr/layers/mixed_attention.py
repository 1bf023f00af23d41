"""Attention by items and by context, mixed for each pair of tokens (MOJITO)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.dropout import Dropout

_HEADS = 2


class MixedBlock(nn.Module):
    r"""A block whose two heads read mixtures of the scores by items and by context.

    .. math:: q = LN(x), \quad y = q + \sum_j a_{ij} W_v x_j, \quad z = LN(y), \quad
        z + W_2\, relu(W_1 z)

    Tokens are of width 2D: item and context. The scores by items read all of it, those by context
    the context alone.

    Args:
        hidden_size: D.
        is_first: Whether the context comes from the step's ``side``, in place of the token's half.
        hidden_dropout_prob: Dropout inside and behind the second sub-layer.
        attn_dropout_prob: Dropout of the attention weights.
        layer_norm_eps: Added to the variance.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        is_first: bool,
        hidden_dropout_prob: float,
        attn_dropout_prob: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        size, double = hidden_size, 2 * hidden_size
        self.size = size
        self.is_first = is_first
        self.item_norm = nn.LayerNorm(double, eps=layer_norm_eps)
        self.context_norm = nn.LayerNorm(size, eps=layer_norm_eps)
        self.norm = nn.LayerNorm(double, eps=layer_norm_eps)
        self.item_query, self.item_key = nn.Linear(double, size), nn.Linear(double, size)
        self.context_query, self.context_key = nn.Linear(size, size), nn.Linear(size, size)
        self.mix_inner, self.mix_outer = nn.Linear(2, 2), nn.Linear(2, _HEADS)
        self.value = nn.Linear(double, _HEADS * size)
        self.inner, self.outer = nn.Linear(double, double), nn.Linear(double, double)
        self.attn_dropout = Dropout(attn_dropout_prob)
        self.dropout = Dropout(hidden_dropout_prob)

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, 2D]`` to ``[T, 2D]``."""
        packing: Any = context.packing
        query, c = self.item_norm(x), self._context(x, context)
        queries = packing.spread(self._queries(query, self.context_norm(c)))
        keys = packing.spread(self._keys(x, c))
        mixed = [
            self._mix(own, rows, bucket.causal_bias)
            for own, rows, bucket in zip(queries, keys, packing.buckets, strict=True)
        ]
        return self._feed_forward(query + packing.collect(mixed))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, 2D]`` to ``[B, 2D]``."""
        packing: Any = context.packing
        c = self._context(x, context)
        query = self.item_norm(x.index_select(0, packing.last))
        newest = self.context_norm(c.index_select(0, packing.last))
        queries = packing.spread_sequences(self._queries(query, newest))
        keys = packing.spread(self._keys(x, c))
        mixed = [
            self._mix(own[:, None], rows, bucket.padding_bias[:, None])[:, 0]
            for own, rows, bucket in zip(queries, keys, packing.buckets, strict=True)
        ]
        return self._feed_forward(query + packing.collect_sequences(mixed))

    def _context(self, x: Tensor, context: StepContext) -> Tensor:
        return context.side[0] if self.is_first else x[:, self.size :]

    def _queries(self, items: Tensor, moments: Tensor) -> Tensor:
        return torch.cat([self.item_query(items), self.context_query(moments)], dim=-1)

    def _keys(self, x: Tensor, c: Tensor) -> Tensor:
        return torch.cat([self.item_key(x), self.context_key(c), self.value(x)], dim=-1)

    def _mix(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Mix the values that each query may see.

        Args:
            queries: By items and by context. Shape ``[b, q, 2D]``.
            keys: Likewise, and the values behind them. Shape ``[b, w, 4D]``.
            mask: Minus infinity where a key is hidden. Broadcasts to ``[b, q, w]``.

        Returns:
            Shape ``[b, q, 2D]``.
        """
        by_item, by_context = queries.chunk(2, dim=-1)
        item_keys, context_keys, *values = keys.chunk(2 + _HEADS, dim=-1)
        scores = torch.stack([by_item @ item_keys.mT, by_context @ context_keys.mT], dim=-1)
        logits = self.mix_outer(F.relu(self.mix_inner(scores))) / math.sqrt(self.size)
        weights = (logits + mask[..., None]).softmax(dim=-2)  # [b, q, w, h]
        weights = self.attn_dropout(weights)
        return torch.cat([weights[..., h] @ value for h, value in enumerate(values)], dim=-1)

    def _feed_forward(self, y: Tensor) -> Tensor:
        z = self.norm(y)
        inner = self.dropout(F.relu(self.inner(z)))
        return z + self.dropout(self.outer(inner))
