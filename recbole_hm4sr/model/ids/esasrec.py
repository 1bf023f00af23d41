"""eSASRec: SASRec with the gated blocks of LiGR and a softmax among drawn items.

Reference:
    Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion",
    RecSys 2025, arXiv:2508.06450. The block: Borisyuk et al., "From Features to Transformers:
    Redefining Ranking for Scalable Impact", 2025, arXiv:2502.03417.

The parts are known ones; the paper finds that together they are the strongest of their kind. On the
small Amazon sets the loss does most of it: there the plain block is as good.
"""

import math
from typing import Any, cast

from torch import nn

from recbole_hm4sr.layers.attention import MultiHeadAttention, SelfAttention
from recbole_hm4sr.layers.blocks import LiGRBlock, SequenceEncoder
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.model.ids.esasrec_settings import eSASRecSettings
from recbole_hm4sr.model.ids.id_sequence import IdSequence


class eSASRec(IdSequence):  # noqa: N801  # the paper's name, which --model takes
    r"""SASRec with LiGR's blocks, positions counted from the newest item, and a sampled softmax.

    .. math:: y = x + \sigma(G_1 x + g_1) \, MHA(LN(x)), \quad
        y + \sigma(G_2 y + g_2) \, W_2 (silu(W_1 LN(y)) \, W_3 LN(y))

    The loss sets a target against K items, drawn uniformly and for it alone.

    .. math:: \log \Bigl( e^{s} + \sum_k e^{s_k} \Bigr) - s

    Args:
        config: RecBole ``Config`` with the fields of :class:`eSASRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        The loss is the mean over all targets; there a target whose loss is exactly 0 is not
        counted. Negatives are drawn for real positions only. The padding item begins as zero; with
        ``loss: ce`` it is a candidate that is trained, there a constant one. Adam has its usual
        second coefficient, 0.999, there 0.98. The width is that of the authors' table, 64; their
        configuration files say 256.
    """

    settings_class = eSASRecSettings
    settings: eSASRecSettings
    positions = "inverse"

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.input_norm = nn.Identity()
        self.encoder = SequenceEncoder([self._block() for _ in range(self.settings.n_layers)])
        self._initialize()

    def _block(self) -> LiGRBlock:
        settings, size = self.settings, self.settings.hidden_size
        attention = SelfAttention(
            hidden_size=size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
        )
        return LiGRBlock(
            attention=attention,
            hidden_size=size,
            inner_size=settings.ff_multiplier * size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            hidden_act=settings.ff_act,
            layer_norm_eps=settings.layer_norm_eps,
            has_bias=settings.ff_bias,
        )

    def _initialize(self) -> None:
        """Draw all matrices Xavier-normal, those of queries, keys and values as one matrix."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.xavier_normal_(module.weight)
        for module in self.modules():
            if isinstance(module, IdRows):
                nn.init.zeros_(module.weight[0])
            if isinstance(module, MultiHeadAttention):
                for linear in (module.query, module.key, module.value):
                    deviation = math.sqrt(2 / (3 * linear.out_features + linear.in_features))
                    nn.init.normal_(linear.weight, std=deviation)
                    nn.init.zeros_(linear.bias)
                nn.init.zeros_(cast(nn.Linear, module.output).bias)
