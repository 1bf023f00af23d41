"""The user tower of a model on packed tokens, in operations that can be exported."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.padded_rows import PaddedRows

if TYPE_CHECKING:
    from recbole_hm4sr.model.packed import PackedRecommender


class UserTower(nn.Module):
    """From padded histories to user vectors: a model's own ``encode`` on rows of one length.

    Args:
        model: At its best epoch.
    """

    rows: Tensor

    def __init__(self, model: "PackedRecommender") -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.register_buffer("rows", model.catalogue().rows.clone())

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, timestamps: Tensor) -> Tensor:
        """Encode histories.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each history, at least 1. Shape ``[B]``, int64.
            timestamps: Their times in the run's unit since the epoch, 0 in the padding; not read
                by a model that has no use for times. Shape ``[B, L]``, int64.

        Returns:
            Shape ``[B, M * D]``.
        """
        batch = PackedBatch(
            items=item_seq.flatten(),
            times=whole_seconds(timestamps.flatten(), self.model.timestamp_unit),
            packing=PaddedRows(item_seq_len, item_seq.shape[1]),
        )
        catalogue = self.model.catalogue_of(self.rows)
        users = catalogue.prepared(self.model.encode(batch, catalogue).users)
        return users.vectors.flatten(1)  # [B, M * D]
