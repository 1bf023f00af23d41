"""gSASRec: the original SASRec block, trained against drawn negatives by gBCE.

Reference:
    Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling", RecSys 2023, arXiv:2308.07192.

A softmax over the catalogue is not needed: each target meets K negatives, and a power of its
probability corrects what so few of them would teach. The form is that of the authors' PyTorch code.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.bce import gbce_beta, generalized_bce
from recbole_hm4sr.layers.blocks import SASRecBlock, SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.sampling import draw_uniformly
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.ids.gsasrec_settings import gSASRecSettings
from recbole_hm4sr.model.packed import EncodedBatch, PackedRecommender

Array = np.ndarray[Any, Any]


class gSASRec(PackedRecommender):  # noqa: N801  # the paper's name, which --model takes
    r"""SASRec with gBCE and two tables of items, one read and one scored.

    .. math:: q = LN(x), \quad y = q + MHA(q, x, x), \quad z = LN(y), \quad z + W_2\, relu(W_1 z)

    Args:
        config: RecBole ``Config`` with the fields of :class:`gSASRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        ``tie_items`` works (there the option is never passed on, and there are always two tables),
        padding is item 0, and negatives are drawn for real positions only. Item and position
        vectors begin as N(0, .02): from N(0, 1) as there, ``initializer_range: 1.0``, a small data
        set learns next to nothing.
    """

    settings_class = gSASRecSettings
    settings: gSASRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        if not settings.tie_items:
            self.scored_embedding = IdRows(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoder = SequenceEncoder([self._block() for _ in range(settings.n_layers)])
        self.output_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self._initialize()

    def _block(self) -> SASRecBlock:
        settings, size = self.settings, self.settings.hidden_size
        attention = SelfAttention(
            hidden_size=size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
            output_map=False,
        )
        return SASRecBlock(
            attention=attention,
            hidden_size=size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            layer_norm_eps=settings.layer_norm_eps,
            residual="normed",
            dropout_at="after",
        )

    def _initialize(self) -> None:
        """Draw N(0, ``initializer_range``) for the tables; linear maps keep PyTorch's values."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.settings.initializer_range)
            if isinstance(module, IdRows):
                nn.init.zeros_(module.weight[0])

    @property
    def samples_softmax(self) -> bool:
        """With ``loss: ce`` alone: gBCE looks its negatives up in the whole catalogue."""
        return self.settings.loss == "ce" and super().samples_softmax

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The vectors that items are scored by, the one modality. Shape ``[K, 1, D]``."""
        table = self.item_embedding if self.settings.tie_items else self.scored_embedding
        return table.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed, encode, read the positions that are asked for, and normalise."""
        packing = batch.packing
        # The newest item of a row has the last position, however short the row is.
        newest = self.max_seq_length - packing.lengths.index_select(0, packing.sequence)
        position = (newest + packing.position).clamp(max=self.max_seq_length - 1)
        x = self.dropout(self.item_embedding(batch.items) + self.position_embedding(position))
        context = StepContext(packing)
        if batch.read_at is None:
            users = self.encoder(x, context)
        else:
            users = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        return EncodedBatch(
            UserRows(self.output_norm(users)[:, None]), batch, catalogue
        )  # [N, 1, D]

    def main_loss(self, encoded: EncodedBatch, rows: LossRows) -> tuple[str, Tensor]:
        """The gBCE of the targets and drawn negatives, or with ``loss: ce`` the cross-entropy."""
        settings = self.settings
        if settings.loss == "ce":
            return super().main_loss(encoded, rows)
        drawn = send(self.draw_negatives(len(rows.targets)), rows.targets.device)
        users = self.rows_to_score(encoded)
        targets = rows.targets if rows.shares is None else rows.shares
        own, scores = encoded.catalogue.scores_beside(users, targets, drawn)
        beta = gbce_beta(settings.n_negatives, self.n_items - 1, t=settings.gbce_t)
        loss = generalized_bce(
            own,
            scores,
            beta=beta,
            excluded=rows.seen_in(drawn),
            divisor=rows.joined.divisor,
            shares=rows.shares,
        )
        return "gbce", loss

    def draw_negatives(self, n_rows: int) -> Tensor:
        """Items to set against the targets; a target may be among its own, as in the paper.

        Args:
            n_rows: N, targets of the step.

        Returns:
            On the CPU. Shape ``[N, K]``, or ``[K]`` with ``share_negatives``; int64.
        """
        n_negatives = self.settings.n_negatives
        shape = (n_negatives,) if self.settings.share_negatives else (n_rows, n_negatives)
        return draw_uniformly(self.n_items, *shape)
