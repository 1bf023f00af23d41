"""The causal transformer of one stream, on packed tokens.

The same function as RecBole's ``TransformerEncoder`` (post-norm, dropout on attention weights and
on each sub-layer's output) with a causal mask; the last layer works at the last position only,
since no other is read.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.packing import Packing

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each token to itself and the tokens before it, then add and norm.

    Args:
        hidden_size: D; a multiple of ``n_heads``.
        n_heads: Attention heads.
        hidden_dropout_prob: Dropout of the output.
        attn_dropout_prob: Dropout of the attention weights.
        layer_norm_eps: Added to the variance.

    Raises:
        ValueError: If ``hidden_size`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        n_heads: int,
        hidden_dropout_prob: float,
        attn_dropout_prob: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        if hidden_size % n_heads:
            raise ValueError(
                f"hidden_size must be a multiple of n_heads, got {hidden_size} and {n_heads}"
            )
        self.n_heads = n_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.attn_dropout = Dropout(attn_dropout_prob)
        self.dropout = Dropout(hidden_dropout_prob)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Attend at every token. Shapes ``[T, D]`` to ``[T, D]``."""
        blocks = packing.spread(_project(x, self.query, self.key, self.value))
        mixed = [
            # Padding stands on the right: what hides later tokens hides it from every token.
            self._attend(*block.chunk(3, dim=-1), mask=rows.hide_later)
            for block, rows in zip(blocks, packing.buckets, strict=True)
        ]
        return self._add(x, packing.collect(mixed))

    def at_last(self, x: Tensor, packing: Packing) -> Tensor:
        """Attend at the last token of each sequence only. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, packing.last)
        queries = packing.spread_sequences(self.query(newest))
        blocks = packing.spread(_project(x, self.key, self.value))
        mixed = [
            self._attend(query[:, None], *block.chunk(2, dim=-1), mask=rows.hide_padding[:, None])
            for query, block, rows in zip(queries, blocks, packing.buckets, strict=True)
        ]
        return self._add(newest, packing.collect_sequences([rows.squeeze(1) for rows in mixed]))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor) -> Tensor:
        """Mix the values that each query may see.

        Args:
            query: Shape ``[b, q, D]``.
            key: Shape ``[b, w, D]``.
            value: Shape ``[b, w, D]``.
            mask: Minus infinity where a key is hidden from a query, else 0. Shape ``[q, w]`` or
                ``[b, q, w]``.

        Returns:
            Shape ``[b, q, D]``.
        """
        query, key, value = (
            x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        scores = (query @ key.mT) / math.sqrt(key.shape[-1])  # [b, n_heads, q, w]
        mask = mask if mask.ndim == 2 else mask[:, None]
        weights = (scores + mask).softmax(dim=-1)
        return (self.attn_dropout(weights) @ value).transpose(1, 2).flatten(-2)

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.output(mixed)))


def _project(x: Tensor, *maps: nn.Linear) -> Tensor:
    """What several linear maps make of the same input, side by side, as one product."""
    weight = torch.cat([linear.weight for linear in maps])
    return F.linear(x, weight, torch.cat([linear.bias for linear in maps]))


class FeedForward(nn.Module):
    """Two linear maps with an activation between them, token by token, then add and norm.

    Args:
        hidden_size: D.
        inner_size: Width between the two maps.
        hidden_dropout_prob: Dropout of the output.
        hidden_act: Name in :data:`ACTIVATIONS`.
        layer_norm_eps: Added to the variance.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        inner_size: int,
        hidden_dropout_prob: float,
        hidden_act: str,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[hidden_act]
        self.inner = nn.Linear(hidden_size, inner_size)
        self.output = nn.Linear(inner_size, hidden_size)
        self.dropout = Dropout(hidden_dropout_prob)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes ``[..., D]`` to ``[..., D]``."""
        return self.norm(x + self.dropout(self.output(self.activation(self.inner(x)))))


class TransformerLayer(nn.Module):
    """Attention, then feed-forward.

    Args:
        attention: Attention over packed tokens.
        feed_forward: Token-wise map.
    """

    def __init__(self, *, attention: CausalSelfAttention, feed_forward: FeedForward) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        return self.feed_forward(self.attention(x, packing))

    def at_last(self, x: Tensor, packing: Packing) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        return self.feed_forward(self.attention.at_last(x, packing))


class SequenceEncoder(nn.Module):
    """A stack of layers whose output is read at the last position, or at every one.

    Args:
        layers: The layers, first to last; none reads the input.
    """

    def __init__(self, layers: list[TransformerLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Encode packed sequences, read at their last positions.

        Args:
            x: Tokens. Shape ``[T, D]``.
            packing: Their arrangement.

        Returns:
            One vector a sequence. Shape ``[B, D]``.
        """
        if not len(self.layers):
            return x.index_select(0, packing.last)
        *inner, last = self.layers
        for layer in inner:
            x = layer(x, packing)
        return last.at_last(x, packing)  # type: ignore[operator, union-attr, unused-ignore]

    def at_all(self, x: Tensor, packing: Packing) -> Tensor:
        """Encode packed sequences, read at every position. Shapes ``[T, D]`` to ``[T, D]``.

        The layers are causal: a position's output is that of the sequence cut off after it.
        """
        for layer in self.layers:
            x = layer(x, packing)
        return x


def build_encoder(
    *,
    n_layers: int,
    hidden_size: int,
    inner_size: int,
    n_heads: int,
    hidden_act: str,
    hidden_dropout_prob: float,
    attn_dropout_prob: float,
    layer_norm_eps: float,
) -> SequenceEncoder:
    """An encoder of equal layers; the arguments are those of the layers' parts."""
    shared: dict[str, Any] = {
        "hidden_size": hidden_size,
        "hidden_dropout_prob": hidden_dropout_prob,
        "layer_norm_eps": layer_norm_eps,
    }
    return SequenceEncoder(
        [
            TransformerLayer(
                attention=CausalSelfAttention(
                    n_heads=n_heads, attn_dropout_prob=attn_dropout_prob, **shared
                ),
                feed_forward=FeedForward(inner_size=inner_size, hidden_act=hidden_act, **shared),
            )
            for _ in range(n_layers)
        ]
    )
