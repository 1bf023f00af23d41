r"""TiSASRec: attention reads the time between each two interactions, in a unit of the user's own.

Reference:
    Li, Wang and McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation", WSDM
    2020.

The unit is the user's smallest gap above zero. With :math:`t'` times in that unit and k the
`max_interval`, :math:`r_{ij} = min(|t'_i - t'_j|, k)`. Intervals and positions have a vector for
keys and one for values, which all blocks share; c is the root of D.

.. math:: x = c\, E[i], \quad q = LN(x), \quad
    s_{ij} = W_Q q_i \cdot (W_K x_j + P^K_j + T^K_{r_{ij}}) / \sqrt{d}

.. math:: y_i = q_i + \sum_j a_{ij} (W_V x_j + P^V_j + T^V_{r_{ij}}), \quad z = LN(y), \quad
    z + W_2\, relu(W_1 z)

The score is LN(x) . E. Causal: sequence mode equals prefix mode.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.serving_data import ServingDataset
from recbole_hm4sr.data.time_scales import time_scales
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SASRecBlock, SequenceEncoder, build_normed_block
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.pairs import RowScales, interval_pairs, row_scales, scaled_tokens
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.timed.pairwise import PairwiseRecommender
from recbole_hm4sr.model.timed.settings import TiSASRecSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TiSASRecBatch(PackedBatch):
    """A batch as TiSASRec reads it.

    Attributes:
        scales: The unit of time of each sequence's user; None for that of the sequence itself.
    """

    scales: RowScales | None = None


@dataclass(frozen=True)
class TiSASRecReader(BatchReader):
    """Arranges a batch of RecBole for TiSASRec.

    Attributes:
        scales: Of the user of each interaction, each of shape ``[N]``; training alone reads them.
            None where users are not known.
    """

    scales: RowScales | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        scales = None
        if train and self.scales is not None:
            firsts = interaction[FIRST_POSITION].cpu()
            scales = RowScales(*(values[firsts] for values in self.scales))
        return TiSASRecBatch(**vars(batch), scales=scales)


class TiSASRec(PairwiseRecommender):
    """RecBole recommender.

    Args:
        config: RecBole ``Config`` with the fields of :class:`TiSASRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        In training the unit of a user comes from the training part, so that sequence mode equals
        prefix mode; there from validation and test as well. Evaluation and service take it from the
        items that are read of the history. Any number of heads; there the
        values are right for one head only. Dropout of the intervals is drawn for the table, there
        for every pair: nothing of the size [L, L, D] is made. Weights begin as N(0, .02), there
        glorot-uniform. A negative may be an item that the user meets later.
    """

    settings_class = TiSASRecSettings
    reads = frozenset({"times"})
    settings: TiSASRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        self.position_keys = nn.Embedding(self.max_seq_length, size)
        self.position_values = nn.Embedding(self.max_seq_length, size)
        self.interval_keys = nn.Embedding(settings.max_interval + 1, size)
        self.interval_values = nn.Embedding(settings.max_interval + 1, size)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoder = SequenceEncoder([self._block() for _ in range(settings.n_layers)])
        self.output_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        draw_normal(self, settings.initializer_range)

    def _block(self) -> SASRecBlock:
        settings = self.settings
        return build_normed_block(
            hidden_size=settings.hidden_size,
            n_heads=settings.n_heads,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            attn_dropout_prob=settings.attn_dropout_prob,
            layer_norm_eps=settings.layer_norm_eps,
        )

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """A reader that knows the unit of each user of the training."""
        scales = None
        by_user = self.settings.interval_scale == "user_min"
        if by_user and not isinstance(dataset, ServingDataset):
            shown = dataset.shown_interactions().numpy()
            found = time_scales(dataset.log, shown, self.timestamp_unit)
            scales = RowScales(torch.from_numpy(found.origins), torch.from_numpy(found.gaps))
        return TiSASRecReader(**self.reader_options(config, dataset), scales=scales)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed, encode with intervals, read the positions that are asked for, and normalise."""
        packing = batch.packing
        x = catalogue.of(batch.items)[:, 0]  # [T, D]
        if self.settings.scale_embedding:
            x = x * self.settings.hidden_size**0.5
        position = window_positions(packing, self.max_seq_length, "newest")
        tables = [self.interval_keys.weight, self.interval_values.weight]
        if self.settings.time_dropout == "table":
            tables = [self.dropout(table) for table in tables]
        context = StepContext(
            packing,
            interval_pairs(self._scaled(batch), packing, *tables),
            keys=self.dropout(self.position_keys(position)),
            values=self.dropout(self.position_values(position)),
        )
        x = self.dropout(x)
        if batch.read_at is None:
            users = self.encoder(x, context)
        else:
            users = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        users = self.output_norm(users)[:, None]  # [N, 1, D]
        return EncodedBatch(UserRows(users), batch, catalogue)

    def _scaled(self, batch: PackedBatch) -> Tensor:
        """Times in the unit of their user. Shape ``[T]``, int64."""
        unit = self.settings.interval_scale
        scales = batch.scales if isinstance(batch, TiSASRecBatch) else None
        if scales is None:
            scales = row_scales(batch.times, batch.packing)
        if unit != "user_min":
            gaps = torch.full_like(scales.origins, 1, dtype=torch.float64) * unit
            scales = scales._replace(gaps=gaps)
        return scaled_tokens(batch.times, batch.packing, scales)

    def auxiliary_losses(
        self,
        encoded: EncodedBatch,  # noqa: ARG002
        rows: LossRows,  # noqa: ARG002
    ) -> Iterator[tuple[str, Tensor]]:
        """The squares of all tables, if ``l2_emb`` asks for them."""
        if self.settings.l2_emb:
            tables = (
                self.item_embedding,
                self.position_keys,
                self.position_values,
                self.interval_keys,
                self.interval_values,
            )
            total = torch.stack([table.weight.square().sum() for table in tables]).sum()
            yield "l2", self.settings.l2_emb * total
