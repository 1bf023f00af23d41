"""Scores of models without parameters: weighted sums of rows of a table, one row an item.

Equal scores are ordered by how often an item occurs in the training part, then by its number: the
rows of the catalogue are in that order, and a catalogue orders equal scores by its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    def part(self, number: int) -> "Table":
        """The table of one part of the scores."""

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
        others: The item of each weight, once a row and part. Shape ``[E]``, int32.
        values: The weights. Shape ``[E]``, floating.
        parts: Which part of a score each weight is of; None where there is one. ``[E]``, uint8.
    """

    offsets: Tensor
    others: Tensor
    values: Tensor
    parts: Tensor | None = None

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.offsets) - 1

    def part(self, number: int) -> "SparseRows":
        """The table of one part: the weights of the others are 0."""
        if self.parts is None:
            return self
        return replace(self, values=self.values * (self.parts == number), parts=None)

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

    def part(self, number: int) -> "DenseRows":  # noqa: ARG002
        """The table: it has one part."""
        return self

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
        names: A name for each part of the table.
    """

    part = "history"

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._table, self.names = table, tuple(names)

    def prepare(self, users: UserRows, catalogue: Catalogue) -> UserRows:  # noqa: ARG002
        """Nothing is computed before."""
        return users

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Scores of the candidates."""
        own = InnerProducts().scores(users, candidates)
        if candidates.items.ndim == 1:
            items, weights = users.side["items"], users.side["weights"]
            return own + self._table.sums(items, weights, candidates.items)
        return own + _sums_of(self._table, users, candidates.items)

    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each part of the table adds to the scores of each row's own items.

        Args:
            users: N rows.
            items: Shape ``[N, C]``, int64.

        Returns:
            In the order of ``names``. Shape ``[N, C, P]``.
        """
        tables = [self._table.part(number) for number in range(len(self.names))]
        return torch.stack([_sums_of(table, users, items) for table in tables], dim=2)

    def by_history_item(self, users: UserRows, items: Tensor) -> Tensor:
        """As :meth:`~recbole_hm4sr.layers.scorers.HasHistory.by_history_item`."""
        newest = zip(users.side["items"].T, users.side["weights"].T, strict=True)
        alone = (users.with_side(items=i[:, None], weights=w[:, None]) for i, w in newest)
        return torch.stack([self.parts(user, items) for user in alone], dim=3)


def _sums_of(table: Table, users: UserRows, wanted: Tensor) -> Tensor:
    """The sums of each row's own items. Shape ``[N, C]``."""
    step = max(1, _MOST_SCORES // table.n_items)
    of_rows = (users.side["items"], users.side["weights"], wanted)
    blocks = zip(*(values.split(step) for values in of_rows), strict=True)
    return torch.cat([table.sums(i, w).gather(1, own) for i, w, own in blocks])


@dataclass(frozen=True, kw_only=True)
class OrderedCatalogue(Catalogue):
    """All items, their rows in an order of their own, in which equal scores are ranked.

    Attributes:
        positions: Row of each item. Shape ``[I]``, int64.
    """

    positions: Tensor

    def _numbers(self, items: Tensor) -> Tensor:
        return self.positions[items]

    def _between(self, part: slice) -> Candidates:
        return super()._between(part)._replace(ascending=False)

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of all items in the order of their numbers, ``[N, I]``, or of some."""
        scores = super().scores(users, items)
        return scores if items is not None else scores.index_select(1, self.positions)
