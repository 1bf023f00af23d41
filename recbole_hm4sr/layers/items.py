"""Item parts: what makes an item's vector of its id, its features or its categories."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.transfer import send

Array = np.ndarray[Any, Any]


class ItemPart(Protocol):
    """One vector an item, of what is known of it.

    Attributes:
        width: D of the vectors.
    """

    width: int

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""


class IdRows(nn.Embedding):
    """A trained vector for each item.

    Args:
        n_items: I, padding included.
        width: D.
    """

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__(n_items, width)
        self.width = width

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""
        return self.weight if items is None else self(items)


class FeatureRows(nn.Linear):
    """A trained linear map of frozen features.

    Args:
        table: The features; no parameter and in no checkpoint.
        width: D.
    """

    table: "FeatureTable | None"

    def __init__(self, table: "FeatureTable", width: int) -> None:
        super().__init__(table.width, width)
        self.width = width
        self.table = table

    def rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Vectors of some items, or of all.

        Args:
            items: Shape ``[K]``, int64; None for all, whose features must be resident.
            on_host: The same on the host, if they are known there.

        Returns:
            Shape ``[K, D]``.

        Raises:
            ValueError: If the features were dropped.
        """
        if self.table is None:
            raise ValueError("the features were dropped: the rows that are kept must be read")
        return self(self.table(items, on_host).to(self.weight.dtype))

    def drop_features(self) -> None:
        """Forget the features, where the rows themselves are kept."""
        self.table = None


class CategoryRows(nn.Module):
    """The sum or the mean of trained vectors of an item's categories.

    An item without a category has zeros. Padding of the list of categories adds nothing, and the
    mean does not count it.

    Args:
        flags: Categories of each item, 0 or 1. Shape ``[I, C]``.
        width: D.
        pooling: What an item with several categories has.
    """

    categories: Tensor
    n_categories: Tensor

    def __init__(self, flags: Array, width: int, pooling: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        self.width = width
        self.pooling = pooling
        self.embedding = nn.Embedding(flags.shape[1], width)
        counts = (np.asarray(flags) > 0).sum(axis=1)
        lists = np.zeros((len(flags), max(1, counts.max(initial=0))), dtype=np.int64)
        items, categories = np.nonzero(flags)
        positions = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
        lists[items, positions] = categories
        self.register_buffer("categories", torch.from_numpy(lists), persistent=False)
        self.register_buffer("n_categories", torch.from_numpy(counts), persistent=False)

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""
        lists, counts = self.categories, self.n_categories
        if items is not None:
            lists, counts = lists.index_select(0, items), counts.index_select(0, items)
        weight = self.embedding.weight
        inside = torch.arange(lists.shape[1], device=lists.device) < counts[:, None]
        shares = inside.to(weight.dtype)  # [K, c]
        if self.pooling == "mean":
            shares = shares / counts.clamp(min=1)[:, None]
        return (shares[:, None] @ F.embedding(lists, weight))[:, 0]  # [K, c, D] to [K, D]


class FeatureTable(nn.Module):
    """Features of all items of one modality. They are not trained and in no checkpoint.

    Args:
        take: Gives the features of items, shape ``[N]``, int64, as ``[N, F]``, float32.
        n_items: I, padding included.
        width: F.
        resident: Whether to keep all rows in memory, on the model's device; else they are read
            when asked for, which suits a file mapped into memory and larger than the device.
    """

    def __init__(
        self, take: Callable[[Array], Array], *, n_items: int, width: int, resident: bool
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.width = width
        self._take = take
        self._row_of: Tensor | None = None  # whose features an item has, while they are shuffled
        self.values: Tensor | None
        values = torch.from_numpy(take(np.arange(n_items))) if resident else None
        self.register_buffer("values", values, persistent=False)

    def forward(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Features of some items, or of all.

        Args:
            items: Shape ``[N]``, int64; None for all, which must be resident.
            on_host: The same on the host, if they are known there: a table that is not resident
                else waits for the device.

        Returns:
            Shape ``[N, F]``, float32.
        """
        if self._row_of is not None:
            items = self._row_of if items is None else self._row_of.to(items.device)[items]
            on_host = None
        if self.values is not None:
            return self.values if items is None else self.values.index_select(0, items)
        if items is None:
            raise ValueError("items must be named: the table is not resident")
        wanted = items.cpu().numpy() if on_host is None else on_host
        return send(torch.from_numpy(self._take(wanted)), items.device)

    @contextmanager
    def permuted(self, generator: torch.Generator, changed: Callable[[], None]) -> Iterator[None]:
        """Shuffle the features among the items while the context lasts.

        Args:
            generator: Draws who has whose features; the padding item keeps its own.
            changed: Called after the shuffle and after its end, for what is made of features.
        """
        device = "cpu" if self.values is None else self.values.device
        self._row_of = permuted_items(self.n_items, generator).to(device)
        changed()
        try:
            yield
        finally:
            self._row_of = None
            changed()


def permuted_items(n_items: int, generator: torch.Generator) -> Tensor:
    """All items shuffled, the padding item 0 first. Shape ``[I]``, int64, on the CPU."""
    shuffled = 1 + torch.randperm(n_items - 1, generator=generator)
    return torch.cat([torch.zeros(1, dtype=torch.int64), shuffled])
