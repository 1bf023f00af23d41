"""SASRec+: SASRec on packed tokens, trained with the cross-entropy over all items.

Reference:
    Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, arXiv:1808.09781.

The function is RecBole's SASRec, with its loss ``CE``; the plus is what surrounds it here: whole
histories in one pass (``train_mode: sequence``), the sampled softmax, seen items left out of it,
and a step without padding. It is HM4SR without modalities and components, so it is the backbone
that those are measured against.
"""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.ids.sasrec_plus_settings import SASRecPlusSettings
from recbole_hm4sr.model.packed import EncodedBatch, PackedRecommender

Array = np.ndarray[Any, Any]


class SASRecPlus(PackedRecommender):
    """SASRec with the cross-entropy over all items, on packed tokens.

    Args:
        config: RecBole ``Config`` with the fields of :class:`SASRecPlusSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from RecBole's SASRec:
        In the arrangement only: with ``train_mode: prefix`` losses, gradients and scores are equal.
    """

    settings_class = SASRecPlusSettings
    settings: SASRecPlusSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.input_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoder = build_encoder(**settings.encoder_options())
        draw_normal(self, settings.initializer_range)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed, normalise, encode, and read the positions that are asked for."""
        packing = batch.packing
        if batch.distinct is None:
            tokens = catalogue.of(batch.items)[:, 0]  # [T, 1, D] to [T, D]
        else:  # the gradient of each item is summed before it meets the table
            distinct = catalogue.of(batch.distinct.items)[:, 0]  # [N, 1, D] to [N, D]
            tokens = F.embedding(batch.distinct.of_token, distinct)  # [T, D]
        tokens = tokens + self.position_embedding(packing.position)  # [T, D]
        x, context = self.dropout(self.input_norm(tokens)), StepContext(packing)
        if batch.read_at is None:
            users = self.encoder(x, context)
        else:
            users = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        return EncodedBatch(UserRows(users[:, None]), batch, catalogue)  # [N, D] to [N, 1, D]
