"""Where the vectors of new items begin: at those of known items with features like theirs.

An id begins as the mean of the ids of the nearest known items, by the cosine of their features; of
an item without any, as the mean of all known ids. Where a model reads no features ids stay as they
are drawn: from the mean of all, new items that are learned weekly were found hardly ever.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.model.capabilities import what_it_reads

Array = np.ndarray[Any, Any]
_NEAREST = 10
_ROWS_AT_A_TIME = 1024


class NewItemRows:
    """Makes rows of new items from those of known ones.

    Args:
        dataset: Training split of a ``MultiModalSequentialDataset``: it has both.
        n_known: Items that were known, padding included; the others are new.
    """

    def __init__(self, dataset: Any, n_known: int) -> None:
        self._dataset, self._n_known = dataset, n_known

    @classmethod
    def of(cls, model: Any, dataset: Any, n_known: int) -> "NewItemRows | None":
        """Those of a model; None for one that reads no features.

        Args:
            model: Says what it reads.
            dataset: As the class takes it.
            n_known: As the class takes it.
        """
        reads_features = "features" in what_it_reads(model) and dataset.modality_names
        return cls(dataset, n_known) if reads_features else None

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows of the new items.

        Args:
            rows: Of the known ones, padding first. Shape ``[K, ...]``.

        Returns:
            Shape ``[I - K, ...]``.
        """
        flat = rows.reshape(len(rows), -1)
        known = torch.from_numpy(self._learned).to(rows.device)
        begin = flat[known].mean(dim=0).repeat(self._dataset.item_num - self._n_known, 1)
        nearest, weights = (it.to(rows.device) for it in self._nearest)
        has_some = weights.any(dim=1)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
        means = torch.einsum("nk,nkd->nd", shares.to(flat.dtype), flat[nearest])
        begin[has_some] = means[has_some]
        return begin.reshape(-1, *rows.shape[1:])

    @cached_property
    def _learned(self) -> Array:
        """Known items that a training row shows: the ids of others say nothing. Int64."""
        shown = np.flatnonzero(self._dataset.trained_items()[: self._n_known])
        found: Array = shown if len(shown) else np.arange(min(1, self._n_known - 1), self._n_known)
        return found

    @cached_property
    def _nearest(self) -> tuple[Tensor, Tensor]:
        """The nearest known items of each new one, and 1 where there is one: ``[N, k]`` both."""
        k = min(_NEAREST, len(self._learned))
        new = np.arange(self._n_known, self._dataset.item_num)
        nearest = torch.zeros(len(new), k, dtype=torch.int64)
        weights = torch.zeros(len(new), k)
        if not k:
            return nearest, weights
        known = torch.from_numpy(self._directions(self._learned))
        numbers = torch.from_numpy(self._learned)
        for begin in range(0, len(new), _ROWS_AT_A_TIME):
            own = slice(begin, begin + _ROWS_AT_A_TIME)
            cosines = torch.from_numpy(self._directions(new[own])) @ known.mT
            best = cosines.topk(k, dim=1)
            nearest[own], weights[own] = numbers[best.indices], (best.values > 0).float()
        return nearest, weights

    def _directions(self, items: Array) -> Array:
        """Features of items, each modality of length 1, side by side. Shape ``[N, F]``."""
        parts = []
        for name in self._dataset.modality_names:
            rows = self._dataset.modality(name).take(items)
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            parts.append(rows / np.where(lengths > 0, lengths, 1))
        return np.concatenate(parts, axis=1)
