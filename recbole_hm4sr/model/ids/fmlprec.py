"""FMLP-Rec: learned filters over the window in place of attention.

Reference:
    Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022,
    arXiv:2202.13556.

Each channel of a history is a signal over the window's positions; a layer multiplies its spectrum
by trained complex numbers. That is a convolution as long as the window, without attention.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.blocks import FeedForward, SequenceEncoder
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.filters import convolve, convolve_at_last, kernel_of
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.model.ids.fmlprec_settings import FMLPRecSettings
from recbole_hm4sr.model.ids.id_sequence import IdSequence


class FMLPRec(IdSequence):
    r"""Blocks of a filter and a feed-forward layer.

    Here w is the filter's spectrum, trained for each channel, and F the Fourier transform.

    .. math:: y = LN(x + F^{-1}(w \cdot F(x))), \quad LN(y + W_2\, gelu(W_1 y))

    The newest item always has the last position. The window's length L is part of the function, so
    a model is served with that of its training.

    Args:
        config: RecBole ``Config`` with the fields of :class:`FMLPRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        The loss is the cross-entropy over all items, with which the published numbers are half as
        good again; theirs is ``loss: bce`` with ``n_negatives: 1``. Padding is zero before every
        filter; there it holds position vectors, which the transform mixes into the real items. The
        empty history is no training sample. What they build for attention and never use is left
        out.
    """

    settings_class = FMLPRecSettings
    settings: FMLPRecSettings
    positions = "newest"

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = self.settings
        self.encoder = SequenceEncoder(
            [FilterBlock(settings, self.max_seq_length) for _ in range(settings.n_layers)]
        )
        draw_normal(self, settings.initializer_range)
        # The authors copy one block: only its linear maps are drawn again for each layer.
        blocks = [cast(FilterBlock, block) for block in self.encoder.layers]
        for block in blocks:
            block.spectrum.data.copy_(blocks[0].spectrum)


class FilterBlock(nn.Module):
    """A filter, then feed-forward.

    Args:
        settings: Of the model.
        length: L, the positions of the window that is filtered.
    """

    def __init__(self, settings: FMLPRecSettings, length: int) -> None:
        super().__init__()
        size = settings.hidden_size
        n_channels = 1 if settings.share_filter else size
        spectrum = torch.randn(length // 2 + 1, n_channels, 2) * settings.initializer_range
        self.spectrum = nn.Parameter(spectrum)  # w, real and imaginary parts
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.feed_forward = FeedForward(
            hidden_size=size,
            inner_size=settings.inner_size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            hidden_act=settings.hidden_act,
            layer_norm_eps=settings.layer_norm_eps,
        )
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.is_causal = settings.filter == "causal"
        self.length = length

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        kernel = kernel_of(self.spectrum, self.length)
        mixed = convolve(x, kernel, context.packing, causal=self.is_causal)
        return self.feed_forward(self.norm(x + self.dropout(mixed)))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        newest = x.index_select(0, context.packing.last)
        mixed = convolve_at_last(x, kernel_of(self.spectrum, self.length), context.packing)
        return self.feed_forward(self.norm(newest + self.dropout(mixed)))
