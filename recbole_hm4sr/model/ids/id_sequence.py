"""The base of models of item ids: a vector for each item and each position, then an encoder.

A subclass makes its encoder, and says what its positions mean and what its losses are besides.
"""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.positions import PositionOrder, window_positions
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.packed import Encoded, EncodedBatch, PackedRecommender

Array = np.ndarray[Any, Any]


class IdSequence(PackedRecommender):
    """RecBole recommender of item ids.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``, a subclass of
            :class:`~recbole_hm4sr.model.packed_settings.EncoderSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        positions: What the index of a position counts.
        input_norm: Of items and positions; a model without one has ``nn.Identity()``.
        encoder: Made by the subclass.
    """

    positions: PositionOrder = "oldest"
    encoder: SequenceEncoder

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.shards, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.input_norm: nn.Module = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def input_states(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        """Items and positions of a batch, as the first block reads them. Shape ``[T, D]``."""
        index = window_positions(batch.packing, self.max_seq_length, self.positions)
        tokens = self.item_states(batch, catalogue) + self.position_embedding(index)
        return self.dropout(self.input_norm(tokens))

    def item_states(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        """The items of a batch. Shape ``[T, D]``."""
        if batch.distinct is None:
            return catalogue.of(batch.items)[:, 0]  # [T, 1, D] to [T, D]
        # The gradient of each item is summed before it meets the table.
        distinct = catalogue.of(batch.distinct.items)[:, 0]  # [N, 1, D] to [N, D]
        return F.embedding(batch.distinct.of_token, distinct)

    def user_states(self, x: Tensor, batch: PackedBatch) -> Tensor:
        """Encode, and read the positions that are asked for. Shapes ``[T, D]`` to ``[N, D]``."""
        context = StepContext(batch.packing)
        if batch.read_at is None:
            return self.encoder(x, context)
        return self.encoder.at_every_position(x, context).index_select(0, batch.read_at)

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Embed, normalise, encode, and read the positions that are asked for."""
        users = self.user_states(self.input_states(batch, catalogue), batch)
        return EncodedBatch(UserRows(users[:, None]), batch, catalogue)  # [N, D] to [N, 1, D]
