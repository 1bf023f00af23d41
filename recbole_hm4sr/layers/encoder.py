"""The causal transformer of one stream, on packed tokens.

The same function as RecBole's ``TransformerEncoder`` (post-norm, dropout on attention weights and
on each sub-layer's output) with a causal mask; the last layer works at the last position only,
since no other is read.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        self.attn_dropout_prob = attn_dropout_prob
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(hidden_dropout_prob)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Attend at every token. Shapes ``[T, D]`` to ``[T, D]``."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        mixed = [
            # Padding stands on the right: the causal mask already hides it from every token.
            self._attend(query[rows.tokens], key[rows.tokens], value[rows.tokens], causal=True)
            for rows in packing.buckets
        ]
        places = torch.cat([rows.flatten(0, 1) for rows in mixed])
        return self._add(x, places[packing.from_buckets])

    def at_last(self, x: Tensor, packing: Packing) -> Tensor:
        """Attend at the last token of each sequence only. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x[packing.last]
        query, key, value = self.query(newest), self.key(x), self.value(x)
        mixed = [
            self._attend(
                query[rows.sequences, None],
                key[rows.tokens],
                value[rows.tokens],
                mask=rows.is_token[:, None, None],
            )
            for rows in packing.buckets
        ]
        places = torch.cat([rows.squeeze(1) for rows in mixed])
        return self._add(newest, places[packing.sequence_from_buckets])

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Shapes ``[b, q, D]``, ``[b, w, D]``, ``[b, w, D]`` to ``[b, q, D]``."""
        query, key, value = (
            x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.attn_dropout_prob if self.training else 0.0,
            is_causal=causal,
        )
        return mixed.transpose(1, 2).flatten(-2)

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.output(mixed)))


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
        self.dropout = nn.Dropout(hidden_dropout_prob)
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
            return x[packing.last]
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
