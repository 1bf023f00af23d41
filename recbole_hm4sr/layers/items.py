"""Item parts: what makes an item's vector of its id, its features or its categories."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.parallel.shards import ShardedWeight, Shards

Array = np.ndarray[Any, Any]


class ItemPart(Protocol):
    """One vector an item, of what is known of it.

    Attributes:
        width: D of the vectors.
    """

    width: int

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""


class IdRows(ShardedWeight, nn.Embedding):
    """A trained vector for each item.

    Args:
        items: I, padding included; or which of them this process holds.
        width: D.
    """

    def __init__(self, items: int | Shards, width: int) -> None:
        self.shards = Shards.whole(items) if isinstance(items, int) else items
        super().__init__(self.shards.n_own, width)
        self.width = width
        self.average_gradient()

    def reset_parameters(self) -> None:
        """Draw N(0, 1), as ``nn.Embedding`` does."""
        self.draw_normal(1.0)

    def draw_normal(self, deviation: float) -> None:
        """Draw N(0, deviation)."""
        self.shards.draw_normal(self.weight, deviation)

    @torch.no_grad()
    def zero_padding(self) -> None:
        """Set the padding item's vector to zeros, where it is held here."""
        self.weight[: int(self.shards.own.start == 0)] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Vectors of some items, whoever holds them. Shapes ``[K]``, int64, to ``[K, D]``."""
        return (
            self.shards.look_up(self.weight, items)
            if self.shards.is_split
            else super().forward(items)
        )

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all that are held. Shape ``[K, D]``."""
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

    @property
    def is_resident(self) -> bool:
        """Whether the features are in memory, so that all rows can be asked for at once."""
        return self.table is not None and self.table.values is not None

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
        held: The items whose features are kept; None for all.
    """

    def __init__(
        self,
        take: Callable[[Array], Array],
        *,
        n_items: int,
        width: int,
        resident: bool,
        held: slice | None = None,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.width = width
        self._take = take
        self._row_of: Tensor | None = None  # whose features an item has, while they are shuffled
        self.values: Tensor | None
        kept = np.arange(n_items)[slice(None) if held is None else held]
        values = torch.from_numpy(take(kept)) if resident else None
        self.register_buffer("values", values, persistent=False)

    def forward(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Features of some items, or of all.

        Args:
            items: Shape ``[N]``, int64; None for all that are held, which must be resident.
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

    def make_whole(self) -> None:
        """Read the features of all items from here on, when they are asked for."""
        self.values = None

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
