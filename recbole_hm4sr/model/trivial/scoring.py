"""Scores of models without parameters: weighted sums of rows of a table, one row an item.

Equal scores are ordered by how often an item occurs in the training part, then by its number: the
rows of the catalogue are in that order, and a catalogue orders equal scores by its rows.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.scorers import Candidates, InnerProducts, UserRows

_MOST_SCORES = 2**22


class Table(Protocol):
    """A row of weights of all items for each item."""

    @property
    def n_items(self) -> int:
        """I."""

    def sums(self, items: Tensor, weights: Tensor, columns: Tensor | None = None) -> Tensor:
        """Weighted sums of rows.

        Args:
            items: Shape ``[N, H]``, int64.
            weights: Shape ``[N, H]``, floating.
            columns: Items whose weights are summed, each at most once; None for all in their order.
                Shape ``[K]``, int64.

        Returns:
            Shape ``[N, K]``.
        """


@dataclass(frozen=True)
class SparseRows:
    """A table of few weights a row.

    Attributes:
        offsets: Where the weights of each item begin, and E as the last. Shape ``[I + 1]``, int64.
        others: The item of each weight, once a row. Shape ``[E]``, int32.
        values: The weights. Shape ``[E]``, floating.
    """

    offsets: Tensor
    others: Tensor
    values: Tensor

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.offsets) - 1

    def sums(self, items: Tensor, weights: Tensor, columns: Tensor | None = None) -> Tensor:
        """As :meth:`Table.sums`; a sum runs from the first item of a row to the last."""
        n_rows, n_read = items.shape
        begins = self.offsets[items.flatten()]
        counts = self.offsets[items.flatten() + 1] - begins
        token = torch.repeat_interleave(counts)
        entries = torch.arange(len(token), device=items.device)
        entries += (begins - counts.cumsum(0) + counts)[token]
        others = self.others[entries].long()
        added = weights.flatten()[token] * self.values[entries]
        row = token // max(n_read, 1)
        if columns is not None:
            column_of = torch.full((self.n_items,), -1, device=items.device)
            column_of[columns] = torch.arange(len(columns), device=items.device)
            others = column_of[others]
            here = others >= 0
            row, others, added = row[here], others[here], added[here]
        width = self.n_items if columns is None else len(columns)
        sums = torch.zeros(n_rows * width, dtype=self.values.dtype, device=items.device)
        return sums.index_add_(0, row * width + others, added).view(n_rows, width)


@dataclass(frozen=True)
class DenseRows:
    """A table of all weights.

    Attributes:
        values: Shape ``[I, I]``, floating.
    """

    values: Tensor

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.values)

    def sums(self, items: Tensor, weights: Tensor, columns: Tensor | None = None) -> Tensor:
        """As :meth:`Table.sums`."""
        weights = weights.to(self.values.dtype)
        sums = F.embedding_bag(items, self.values, per_sample_weights=weights, mode="sum")
        return sums if columns is None else sums.index_select(1, columns)


class HistorySums:
    """Adds to what an item has by itself the rows of the items of a history, each times a weight.

    It reads ``items``, shape ``[N, H]``, int64, and ``weights``, ``[N, H]``, beside the vectors.

    Args:
        table: The rows.
    """

    part = "history"

    def __init__(self, table: Table) -> None:
        self._table = table

    def prepare(self, users: UserRows, catalogue: Catalogue) -> UserRows:  # noqa: ARG002
        """Nothing is computed before."""
        return users

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Scores of the candidates."""
        own = InnerProducts().scores(users, candidates)
        items, weights = users.side["items"], users.side["weights"]
        if candidates.items.ndim == 1:
            return own + self._table.sums(items, weights, candidates.items)
        step = max(1, _MOST_SCORES // self._table.n_items)
        parts = zip(*(it.split(step) for it in (items, weights, candidates.items)), strict=True)
        sums = [self._table.sums(i, w).gather(1, wanted) for i, w, wanted in parts]
        return own + torch.cat(sums)


@dataclass(frozen=True, kw_only=True)
class OrderedCatalogue(Catalogue):
    """All items, their rows in an order of their own, in which equal scores are ranked.

    Attributes:
        positions: Row of each item. Shape ``[I]``, int64.
    """

    positions: Tensor

    def _numbers(self, items: Tensor) -> Tensor:
        return self.positions[items]

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of all items in the order of their numbers, ``[N, I]``, or of some."""
        scores = super().scores(users, items)
        return scores if items is not None else scores.index_select(1, self.positions)
