"""Blocks of a sequence encoder, on packed tokens.

The same function as RecBole's ``TransformerEncoder`` with :class:`PostNormBlock`, and the block of
the original SASRec with :class:`SASRecBlock`. The last block works at the last position only, where
no other is read.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Block(Protocol):
    """A layer of an encoder."""

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""


class FeedForward(nn.Module):
    """Two linear maps with an activation between them, token by token, then add and norm.

    Args:
        hidden_size: D.
        inner_size: Width between the two maps.
        hidden_dropout_prob: Dropout of the output.
        hidden_act: Name in :data:`ACTIVATIONS`.
        layer_norm_eps: Added to the variance.
        inner_dropout_prob: Dropout after the activation.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        inner_size: int,
        hidden_dropout_prob: float,
        hidden_act: str,
        layer_norm_eps: float,
        inner_dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[hidden_act]
        self.inner = nn.Linear(hidden_size, inner_size)
        self.output = nn.Linear(inner_size, hidden_size)
        self.inner_dropout = Dropout(inner_dropout_prob)
        self.dropout = Dropout(hidden_dropout_prob)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes ``[..., D]`` to ``[..., D]``."""
        inner = self.inner_dropout(self.activation(self.inner(x)))
        return self.norm(x + self.dropout(self.output(inner)))


class PostNormBlock(nn.Module):
    """Attention, add and norm, then feed-forward: the block of BERT.

    Args:
        attention: Attention over packed tokens.
        feed_forward: Token-wise map, with its own sum and norm.
        hidden_size: D.
        hidden_dropout_prob: Dropout of the attention's output.
        layer_norm_eps: Added to the variance.
    """

    def __init__(
        self,
        *,
        attention: SelfAttention,
        feed_forward: FeedForward,
        hidden_size: int,
        hidden_dropout_prob: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.feed_forward = feed_forward
        self.dropout = Dropout(hidden_dropout_prob)

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        mixed = self.attention(x, x, context)
        return self.feed_forward(self.attention_norm(x + self.dropout(mixed)))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, context.packing.last)
        mixed = self.attention.at_last(newest, x, context)
        return self.feed_forward(self.attention_norm(newest + self.dropout(mixed)))


class SASRecBlock(nn.Module):
    r"""The block of the original SASRec, in the forms its descendants gave it.

    .. math:: q = LN(x), \quad y = r + MHA(q, x, x), \quad z = LN(y), \quad z + W_2\, relu(W_1 z)

    Keys and values come from the raw x; the second sum is with the normalised z.

    Args:
        attention: Attention over packed tokens.
        hidden_size: D, also the width between the two maps.
        hidden_dropout_prob: Dropout around the activation, and of the second map's output.
        layer_norm_eps: Added to the variance.
        residual: What the attention's output is added to: ``normed``, q, or ``raw``, x.
        dropout_at: Whether dropout comes ``before`` or ``after`` the activation.

    Reference:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, arXiv:1808.09781.
    """

    def __init__(
        self,
        *,
        attention: SelfAttention,
        hidden_size: int,
        hidden_dropout_prob: float,
        layer_norm_eps: float,
        residual: Literal["raw", "normed"],
        dropout_at: Literal["before", "after"],
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.outer = nn.Linear(hidden_size, hidden_size)
        self.inner_dropout = Dropout(hidden_dropout_prob)
        self.dropout = Dropout(hidden_dropout_prob)
        self.residual = residual
        self.dropout_at = dropout_at

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        query = self.attention_norm(x)
        kept = x if self.residual == "raw" else query
        return self._feed_forward(kept + self.attention(query, x, context))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, context.packing.last)
        query = self.attention_norm(newest)
        kept = newest if self.residual == "raw" else query
        return self._feed_forward(kept + self.attention.at_last(query, x, context))

    def _feed_forward(self, y: Tensor) -> Tensor:
        z = self.norm(y)
        inner = self.inner(z)
        if self.dropout_at == "before":
            inner = F.relu(self.inner_dropout(inner))
        else:
            inner = self.inner_dropout(F.relu(inner))
        return z + self.dropout(self.outer(inner))


def build_normed_block(
    *,
    hidden_size: int,
    n_heads: int,
    hidden_dropout_prob: float,
    attn_dropout_prob: float,
    layer_norm_eps: float,
) -> SASRecBlock:
    """SASRec's block as in its widely used PyTorch form: the residual is normed, no output map.

    The arguments are those of :func:`build_encoder`.
    """
    attention = SelfAttention(
        hidden_size=hidden_size,
        n_heads=n_heads,
        attn_dropout_prob=attn_dropout_prob,
        output_map=False,
    )
    return SASRecBlock(
        attention=attention,
        hidden_size=hidden_size,
        hidden_dropout_prob=hidden_dropout_prob,
        layer_norm_eps=layer_norm_eps,
        residual="normed",
        dropout_at="after",
    )


class LiGRBlock(nn.Module):
    r"""The gated pre-norm block of LiGR, as eSASRec has it.

    .. math:: y = x + \sigma(G_1 x) \, MHA(LN(x)), \quad y + \sigma(G_2 y) \, FF(LN(y))

    Args:
        attention: Attention over packed tokens.
        hidden_size: D.
        inner_size: Width inside the feed-forward layer.
        hidden_dropout_prob: Dropout of both outputs before their gates, and inside the feed-forward
            layer.
        hidden_act: ``swiglu``, :math:`W_2 (silu(W_1 v) \, W_3 v)`, or a name in
            :data:`ACTIVATIONS`.
        layer_norm_eps: Added to the variance.
        has_bias: Whether the maps of the feed-forward layer have biases.

    Reference:
        Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact",
        2025, arXiv:2502.03417; in the form of Tikhonovich et al., "eSASRec: Enhancing
        Transformer-based Recommendations in a Modular Fashion", RecSys 2025, arXiv:2508.06450.
    """

    def __init__(
        self,
        *,
        attention: SelfAttention,
        hidden_size: int,
        inner_size: int,
        hidden_dropout_prob: float,
        hidden_act: str,
        layer_norm_eps: float,
        has_bias: bool = False,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.attention_gate = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.gate = nn.Linear(hidden_size, hidden_size)
        self.inner = nn.Linear(hidden_size, inner_size, bias=has_bias)
        self.outer = nn.Linear(inner_size, hidden_size, bias=has_bias)
        is_swiglu = hidden_act == "swiglu"
        self.linear = nn.Linear(hidden_size, inner_size, bias=has_bias) if is_swiglu else None
        self.activation = F.silu if is_swiglu else ACTIVATIONS[hidden_act]
        self.inner_dropout = Dropout(hidden_dropout_prob)
        self.dropout = Dropout(hidden_dropout_prob)

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        normed = self.attention_norm(x)
        return self._gated(x, self.attention(normed, normed, context))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        normed, last = self.attention_norm(x), context.packing.last
        mixed = self.attention.at_last(normed.index_select(0, last), normed, context)
        return self._gated(x.index_select(0, last), mixed)

    def _gated(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.attention_gate(x).sigmoid() * self.dropout(mixed)
        normed = self.norm(x)
        inner = self.activation(self.inner(normed))
        if self.linear is not None:
            inner = inner * self.linear(normed)
        return x + self.gate(x).sigmoid() * self.dropout(self.outer(self.inner_dropout(inner)))


class SequenceEncoder(nn.Module):
    """A stack of blocks whose output is read at the last position, or at every one.

    Args:
        blocks: First to last; with none, the output is the input.
        output_norm: Applied to what is read; None for nothing.
    """

    def __init__(self, blocks: Sequence[Block], output_norm: nn.LayerNorm | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(cast("Sequence[nn.Module]", blocks))
        self.output_norm = output_norm

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Encode sequences, read at their last positions.

        Args:
            x: Tokens. Shape ``[T, D]``.
            context: Their arrangement, and what else the blocks read.

        Returns:
            One vector a sequence. Shape ``[B, D]``.
        """
        if not len(self.layers):
            return self._normed(x.index_select(0, context.packing.last))
        x, context = _in_recurring_shapes(x, context)
        *inner, last = cast("list[Block]", list(self.layers))
        for block in inner:
            x = block.forward(x, context)
        return self._normed(last.at_last(x, context))

    def at_every_position(self, x: Tensor, context: StepContext) -> Tensor:
        """Encode sequences, read at every position. Shapes ``[T, D]`` to ``[T, D]``.

        Where the blocks are causal, a position's output is that of the sequence cut off after it.
        """
        is_rounded, n_tokens = context.packing.rounded is not None, x.shape[0]
        x, context = _in_recurring_shapes(x, context)
        for block in self.layers:
            x = block(x, context)
        # A part of it only where there is more: an export takes the end of a slice for a constant.
        return self._normed(x[:n_tokens] if is_rounded else x)

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.output_norm is None else self.output_norm(x)


def _in_recurring_shapes(x: Tensor, context: StepContext) -> tuple[Tensor, StepContext]:
    """Tokens with zeros behind them, and their rounded packing, where the context has one."""
    rounded = context.packing.rounded
    if rounded is None:
        return x, context
    besides = (context.pairs, context.keys, context.values, context.cross_rows, *context.side)
    if any(part is not None for part in besides):
        return x, context  # what a context has besides is in the shapes of the step
    n_more = len(rounded.position) - len(x)
    return F.pad(x, (0, 0, 0, n_more)), StepContext(rounded)


def build_encoder(  # noqa: PLR0913  # the settings of an encoder, by name
    *,
    n_layers: int,
    hidden_size: int,
    inner_size: int,
    n_heads: int,
    hidden_act: str,
    hidden_dropout_prob: float,
    attn_dropout_prob: float,
    layer_norm_eps: float,
    block: Literal["bert", "original", "ligr"] = "bert",
    sink_length: int | None = None,
) -> SequenceEncoder:
    """A causal encoder of equal blocks; the arguments are those of the blocks' parts.

    Args:
        n_layers: How many.
        hidden_size: D.
        inner_size: Width inside a feed-forward layer; D with ``original``.
        n_heads: Attention heads.
        hidden_act: Activation of BERT's block.
        hidden_dropout_prob: Dropout of the sub-layers.
        attn_dropout_prob: Dropout of the attention weights.
        layer_norm_eps: Added to variances.
        block: ``bert``, :class:`PostNormBlock`; ``original``, :class:`SASRecBlock` with a norm
            after the last; ``ligr``, :class:`LiGRBlock` with SwiGLU.
        sink_length: Of :class:`~recbole_hm4sr.layers.attention.SelfAttention`.
    """
    shared: dict[str, Any] = {
        "hidden_size": hidden_size,
        "hidden_dropout_prob": hidden_dropout_prob,
        "layer_norm_eps": layer_norm_eps,
    }

    def build_block() -> Block:
        attention = SelfAttention(
            hidden_size=hidden_size,
            n_heads=n_heads,
            attn_dropout_prob=attn_dropout_prob,
            sink_length=sink_length,
        )
        if block == "original":
            return SASRecBlock(attention=attention, residual="raw", dropout_at="before", **shared)
        if block == "ligr":
            return LiGRBlock(
                attention=attention, inner_size=inner_size, hidden_act="swiglu", **shared
            )
        feed_forward = FeedForward(inner_size=inner_size, hidden_act=hidden_act, **shared)
        return PostNormBlock(attention=attention, feed_forward=feed_forward, **shared)

    norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps) if block == "original" else None
    return SequenceEncoder([build_block() for _ in range(n_layers)], norm)
