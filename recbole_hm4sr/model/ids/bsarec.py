"""BSARec: attention beside a low-pass filter, so that a layer does not smooth a history away.

Reference:
    Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
    Self-Attention", AAAI 2024, arXiv:2312.10325.

Attention averages: layer by layer the items of a history grow alike. BSARec splits the window into
its low frequencies and the rest, weighs the rest anew, and adds that to what attention makes.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.blocks import FeedForward, SequenceEncoder
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.filters import convolve, convolve_at_last, low_pass
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.model.ids.bsarec_settings import BSARecSettings
from recbole_hm4sr.model.ids.id_sequence import IdSequence


class BSARec(IdSequence):
    r"""SASRec with a filter beside the attention of each block.

    Here low is the first c // 2 + 1 frequencies of the window of L positions, b a trained vector,
    and alpha the filter's share.

    .. math:: f = LN(x + low(x) + b^2 (x - low(x))), \quad a = LN(x + MHA(x))

    .. math:: y = \alpha f + (1 - \alpha) a, \quad LN(y + W_2\, gelu(W_1 y))

    The newest item always has the last position. The window's length L is part of the function, so
    a model is served with that of its training.

    Args:
        config: RecBole ``Config`` with the fields of :class:`BSARecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Padding is zero before every filter; there it holds position vectors, which the transform
        mixes into the real items. The empty history is no training sample. The padding item begins
        as zero. Items seen before are not ranked at all; there their scores are 0, above those of
        items with negative scores.
    """

    settings_class = BSARecSettings
    settings: BSARecSettings
    positions = "newest"

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = self.settings
        self.encoder = SequenceEncoder(
            [BSARecBlock(settings, self.max_seq_length) for _ in range(settings.n_layers)]
        )
        draw_normal(self, settings.initializer_range)
        # The authors copy one block: only its linear maps are drawn again for each layer.
        root = torch.randn(settings.hidden_size)
        for block in self.encoder.layers:
            cast(BSARecBlock, block).root.data.copy_(root)


class BSARecBlock(nn.Module):
    """A filter and attention side by side, then feed-forward.

    Args:
        settings: Of the model.
        length: L, the positions of the window that is filtered.
    """

    def __init__(self, settings: BSARecSettings, length: int) -> None:
        super().__init__()
        size, eps = settings.hidden_size, settings.layer_norm_eps
        self.attention = SelfAttention(
            hidden_size=size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
        )
        self.feed_forward = FeedForward(
            hidden_size=size,
            inner_size=settings.inner_size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            hidden_act=settings.hidden_act,
            layer_norm_eps=eps,
        )
        self.root = nn.Parameter(torch.empty(size))  # b
        self.filter_norm = nn.LayerNorm(size, eps=eps)
        self.attention_norm = nn.LayerNorm(size, eps=eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.alpha = settings.alpha
        self.is_causal = settings.filter == "causal"
        self.length, self.n_kept = length, settings.cutoff // 2 + 1

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        kernel = low_pass(self.length, self.n_kept, x)
        low = convolve(x, kernel, context.packing, causal=self.is_causal)
        return self._joined(x, low, self.attention(x, x, context))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, context.packing.last)
        low = convolve_at_last(x, low_pass(self.length, self.n_kept, x), context.packing)
        return self._joined(newest, low, self.attention.at_last(newest, x, context))

    def _joined(self, x: Tensor, low: Tensor, attended: Tensor) -> Tensor:
        filtered = low + self.root.square() * (x - low)
        filtered = self.filter_norm(x + self.dropout(filtered))
        attended = self.attention_norm(x + self.dropout(attended))
        return self.feed_forward(self.alpha * filtered + (1 - self.alpha) * attended)
