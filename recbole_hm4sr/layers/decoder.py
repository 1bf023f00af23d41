"""The block of a decoder: self-attention, attention to another sequence, feed-forward."""

from torch import Tensor, nn

from recbole_hm4sr.layers.attention import CrossAttention, SelfAttention, StepContext
from recbole_hm4sr.layers.blocks import FeedForward
from recbole_hm4sr.layers.dropout import Dropout


class DecoderBlock(nn.Module):
    """Add and norm after each of three parts: tokens, the context's ``cross_rows``, feed-forward.

    Args:
        attention: Of the tokens to each other.
        cross_attention: Of the tokens to the rows of another sequence.
        feed_forward: Token-wise map, with its own sum and norm.
        hidden_size: D.
        hidden_dropout_prob: Dropout of both attentions' outputs.
        layer_norm_eps: Added to the variance.
    """

    def __init__(
        self,
        *,
        attention: SelfAttention,
        cross_attention: CrossAttention,
        feed_forward: FeedForward,
        hidden_size: int,
        hidden_dropout_prob: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.cross_attention = cross_attention
        self.cross_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.feed_forward = feed_forward
        self.dropout = Dropout(hidden_dropout_prob)

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        y = self.attention_norm(x + self.dropout(self.attention(x, x, context)))
        return self._after(y, self.cross_attention(y, context))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, context.packing.last)
        mixed = self.attention.at_last(newest, x, context)
        y = self.attention_norm(newest + self.dropout(mixed))
        return self._after(y, self.cross_attention.at_last(y, context))

    def _after(self, y: Tensor, mixed: Tensor) -> Tensor:
        out: Tensor = self.feed_forward(self.cross_norm(y + self.dropout(mixed)))
        return out
