"""The user tower of a model on packed tokens, in operations that can be exported."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import PackedBatch, Requests
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.scorers import UserRows

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
        return self._encode(item_seq, item_seq_len, timestamps).vectors.flatten(1)  # [B, M * D]

    def _encode(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        timestamps: Tensor,
        requests: Requests | None = None,
    ) -> UserRows:
        batch = PackedBatch(
            items=item_seq.flatten(),
            times=whole_seconds(timestamps.flatten(), self.model.timestamp_unit),
            packing=PaddedRows(item_seq_len, item_seq.shape[1]),
            requests=requests,
        )
        catalogue = self._catalogue()
        users = self.model.rows_to_score(self.model.encode(batch, catalogue))
        return users._replace(vectors=catalogue.similarity.users(users.vectors))

    def _catalogue(self) -> Catalogue:
        return self.model.catalogue_of(self.rows)


class MemoryTower(UserTower):
    """The tower of a model with a memory, which also says what each relation counts for.

    The score of an item is the inner product of the vectors, plus the sum over the relations of
    their weights times what the memory says.
    """

    @property
    def scorer(self) -> MemoryScorer:
        """Weighs the relations."""
        return cast(MemoryScorer, self.model.scorer)

    def importance(self) -> Tensor:
        """What each relation counts for where nothing is known of the request. Shape ``[R]``."""
        return (self.scorer.alpha * self.scorer.b.exp()).detach()

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Vectors of all items. Shape ``[I, M * D]``."""
        return self._catalogue().table()

    def forward(  # type: ignore[override]  # it answers more, of more
        self, item_seq: Tensor, item_seq_len: Tensor, timestamps: Tensor, moments: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode histories, and weigh the relations for their requests.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each history, at least 1. Shape ``[B]``, int64.
            timestamps: Their times in the run's unit since the epoch, 0 in the padding. Shape
                ``[B, L]``, int64.
            moments: When each request is made, in that unit; not read with ``request_time: last``.
                Shape ``[B]``, int64.

        Returns:
            Shapes ``[B, M * D]`` and ``[B, R]``.
        """
        reader = self.model.arrange.requests
        assert reader is not None
        requests = reader.of_windows(item_seq, timestamps, item_seq_len, moments)
        users = self._encode(item_seq, item_seq_len, timestamps, requests)
        return users.vectors.flatten(1), self.scorer.relation_weights(users)
