"""The base of content models that score an item by its features alone, so one nobody has taken yet.

An id that no training row shows says nothing: under ``catalogue: all`` it is zero, and an item that
comes later has none.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.items import FeatureTable
from recbole_hm4sr.model.text.content import ContentRecommender

Array = np.ndarray[Any, Any]


class DescribedItems(ContentRecommender):
    """RecBole recommender of content whose candidates may be items without interactions.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``, whose ``new_items`` is
            ``features``.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        has_id: Which items have an id that a training row has shown; None where every id is read
            as it is. Shape ``[I]``, bool.
    """

    has_id: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        has_id = torch.from_numpy(dataset.trained_items()) if self.ranks_new_items else None
        self.register_buffer("has_id", has_id, persistent=False)
        self._are_new = False

    def id_rows(self, items: Tensor | None) -> Tensor:
        """Vectors of the ids of some items, or of all; zeros for one without. Shape ``[K, D]``."""
        if self._are_new:
            assert items is not None
            weight = self.item_embedding.weight
            return weight.new_zeros(len(items), weight.shape[1])
        ids: Tensor = self.item_embedding.rows(items)
        if self.has_id is None:
            return ids
        has_id = self.has_id if items is None else self.has_id.index_select(0, items)
        return ids * has_id[:, None].to(ids.dtype)

    def catalogue_of(self, rows: Tensor) -> Catalogue:
        """The catalogue of all items; the padding and new items are no candidates of the loss."""
        return Catalogue(
            rows,
            similarity=self.similarity,
            scorer=self.scorer,
            n_padding=1,
            left_out=self.left_out,
        )

    @torch.no_grad()
    def rows_of_new(self, features: Mapping[str, AlignedFeatures]) -> Tensor:
        """Rows of items that the training does not have: of their features alone.

        Args:
            features: Of each modality, for the same K items.

        Returns:
            Shape ``[K, 1, D]``.
        """
        with self.describing(features) as items:
            return self.item_rows(items)

    @contextlib.contextmanager
    def describing(self, features: Mapping[str, AlignedFeatures]) -> Iterator[Tensor]:
        """A context in which the items are others, which have features and no id.

        Args:
            features: Of each modality, for the same K items.

        Yields:
            Their numbers. Shape ``[K]``, int64.
        """
        n_items = len(next(iter(features.values())).rows)
        device = next(self.parameters()).device
        kept = self.tables, self.has_features
        tables, present = {}, []
        for name in self.modalities:
            own = features[name]
            tables[name] = FeatureTable(
                self.taker_of(own), n_items=n_items, width=self.width_of(own), resident=True
            )
            present.append(torch.from_numpy(own.present))
        self.tables, self._are_new = nn.ModuleDict(tables).to(device), True
        self.has_features = torch.stack(present, dim=1).to(device)
        try:
            yield torch.arange(n_items, device=device)
        finally:
            self.tables, self.has_features = kept
            self._are_new = False
