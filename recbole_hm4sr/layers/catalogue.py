"""The item side of a model: frozen features, and the rows of the catalogue that a step needs.

The catalogue is the one door to items: inputs, losses and scores all read their rows through it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.softmax import linear_cross_entropy, sampled_cross_entropy
from recbole_hm4sr.layers.transfer import send

Array = np.ndarray[Any, Any]
_ROWS_AT_A_TIME = 65_536


class UserRows(NamedTuple):
    """One row a question: what a score reads of a user.

    Attributes:
        vectors: A vector a modality. Shape ``[N, M, D]``.
        side: What else a scorer reads of a row, by name. Each of shape ``[N, ...]``.
    """

    vectors: Tensor
    side: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Catalogue:
    """Rows of items, whose scores are inner products with users' vectors.

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
        """The rows with all modalities side by side. Shape ``[K, M·D]``."""
        return self.rows.flatten(1)

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of the items that it holds, or of some.

        Args:
            users: N rows.
            items: One item a row, ``[N]``, int64; None for all rows of the catalogue.

        Returns:
            Shape ``[N, K]``, or ``[N]``.
        """
        if items is None:
            return users.vectors.flatten(1) @ self.table().T
        return (users.vectors * self.of(items)).sum(dim=(1, 2))

    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each modality adds to the scores of some items; the sum is the score.

        Args:
            users: N rows.
            items: Items of each row, ``[N, K]``, or the same of all, ``[K]``; int64.

        Returns:
            Shape ``[N, K, M]``.
        """
        rows = self.of(items.flatten()).unflatten(0, items.shape)
        product = "bmd,kmd->bkm" if items.ndim == 1 else "bmd,bkmd->bkm"
        return torch.einsum(product, users.vectors, rows)

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy of the targets among all items but the seen ones. A scalar."""
        return linear_cross_entropy(
            users.vectors.flatten(1),
            self.table(),
            rows.targets,
            excluded=rows.seen,
            divisor=rows.joined.divisor,
        )


@dataclass(frozen=True, kw_only=True)
class SampledCatalogue(Catalogue):
    """Rows of the items of a step and of a sample of the others.

    Attributes:
        drawn: The sample. Shape ``[S]``, int64.
        log_expected: Logarithm of how often each is expected in the sample. Shape ``[S]``.
    """

    drawn: Tensor
    log_expected: Tensor

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy that the sample estimates, without the seen items. A scalar."""
        return sampled_cross_entropy(
            users.vectors.flatten(1),
            self.of(rows.targets).flatten(1),
            self.of(self.drawn).flatten(1),
            log_expected=self.log_expected,
            excluded=rows.excluded_from(self.drawn),
            divisor=rows.joined.divisor,
        )


class CatalogueCache:
    """The whole catalogue of an evaluation, made again only when a weight has changed."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._catalogue: Catalogue | None = None

    def get(
        self, weights: Sequence[Tensor], rows: Callable[[Tensor], Tensor], n_items: int
    ) -> Catalogue:
        """The catalogue.

        Args:
            weights: All that the rows depend on, at least one.
            rows: Makes the rows of some items. Shapes ``[N]``, int64, to ``[N, M, D]``.
            n_items: I, padding included.
        """
        key = tuple(part for weight in weights for part in (weight._version, weight.data_ptr()))
        if self._catalogue is None or self._key != key:
            # Some rows at a time: features that are read when asked for may be larger than memory.
            items = torch.arange(n_items, device=weights[0].device)
            parts = [rows(some) for some in items.split(_ROWS_AT_A_TIME)]
            self._key, self._catalogue = key, Catalogue(torch.cat(parts))
        return self._catalogue

    def forget(self) -> None:
        """Make it again the next time: fused optimizers leave the versions of weights alone."""
        self._catalogue = None


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
    """All items shuffled, the padding item 0 in its place. Shape ``[I]``, int64, on the CPU."""
    shuffled = 1 + torch.randperm(n_items - 1, generator=generator)
    return torch.cat([torch.zeros(1, dtype=torch.int64), shuffled])
