"""The item side of a model: frozen features, and the rows of the catalogue that a step needs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


class Catalogue(NamedTuple):
    """All streams of items: what inputs, category loss and scores read.

    Attributes:
        rows: Shape ``[K, M, D]``.
        items: The item of each row, ascending; None if the rows are all items in their order.
            Shape ``[K]``, int64.
    """

    rows: Tensor
    items: Tensor | None = None

    def of(self, items: Tensor) -> Tensor:
        """The rows of some items, which it must hold. Shapes ``[N]``, int64, to ``[N, M, D]``."""
        places = items if self.items is None else torch.searchsorted(self.items, items)
        return self.rows.index_select(0, places)

    def table(self) -> Tensor:
        """The rows with all streams side by side. Shape ``[K, M·D]``."""
        return self.rows.flatten(1)


class FeatureTable(nn.Module):
    """Features of all items of one modality. They are not trained and in no checkpoint.

    Args:
        take: Gives the features of items, shape ``[N]``, int64, as ``[N, F]``, float32.
        n_items: I, padding included.
        width: F.
        resident: Whether to keep all rows in memory, on the model's device; else they are taken
            when asked for, which suits a file mapped into memory and larger than the device.
    """

    def __init__(
        self, take: Callable[[Array], Array], *, n_items: int, width: int, resident: bool
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.width = width
        self._take = take
        self.values: Tensor | None
        values = torch.from_numpy(take(np.arange(n_items))) if resident else None
        self.register_buffer("values", values, persistent=False)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Features of some items, or of all.

        Args:
            items: Shape ``[N]``, int64; None for all, which must be resident.

        Returns:
            Shape ``[N, F]``, float32.
        """
        if self.values is not None:
            return self.values if items is None else self.values.index_select(0, items)
        if items is None:
            raise ValueError("items must be named: the table is not resident")
        return torch.from_numpy(self._take(items.cpu().numpy())).to(items.device)
