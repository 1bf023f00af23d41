"""Sparse parts of scores: few of very many pairs of a row and an item have one."""

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hm4sr.layers.ranges import expand_ranges

# Keys of pairs: the row times this, plus the item.
_STRIDE = 2**31


class ScoreEntries(NamedTuple):
    """What is added to some scores: entry e adds ``values[e]``; a pair may have several.

    Attributes:
        rows: Row of each entry, not falling. Shape ``[E]``, int64.
        items: Item that is scored. Shape ``[E]``, int64.
        relations: What the entry comes from. Shape ``[E]``, int64.
        values: Shape ``[E]``.
        begins: Where the entries of each row begin, and where the last ones end. Shape
            ``[N + 1]``, int64.
    """

    rows: Tensor
    items: Tensor
    relations: Tensor
    values: Tensor
    begins: Tensor

    def select(self, rows: slice | Tensor) -> "ScoreEntries":
        """The entries of some rows, which count anew from 0."""
        begins, ends = self.begins[:-1][rows], self.begins[1:][rows]
        row, entry = expand_ranges(begins, ends)
        starts = torch.cat([begins.new_zeros(1), (ends - begins).cumsum(0)])
        return ScoreEntries(
            row, self.items[entry], self.relations[entry], self.values[entry], starts
        )

    def on_columns(self, items: Tensor, *, ascending: bool) -> Tensor:
        """What is added to the scores of the same items of all rows.

        Args:
            items: Shape ``[K]``, int64.
            ascending: Whether each is above the one before it.

        Returns:
            With the gradient of the values. Shape ``[N, K]``.
        """
        column = None
        if not ascending:
            items, column = torch.unique(items, return_inverse=True)
        place = torch.searchsorted(items, self.items).clamp(max=len(items) - 1)
        values = self.values * (items[place] == self.items)
        added = values.new_zeros(len(self.begins) - 1, len(items))
        added = added.index_put((self.rows, place), values, accumulate=True)
        return added if column is None else added[:, column]

    def by_relation(self, items: Tensor, n_relations: int) -> Tensor:
        """What each relation adds to the scores of each row's own items.

        Args:
            items: Shape ``[N, C]``, int64.
            n_relations: R.

        Returns:
            With the gradient of the values. Shape ``[N, C, R]``.
        """
        keys = self.rows * _STRIDE + self.items
        pairs, pair = torch.unique(keys, return_inverse=True)
        # One pair more, of no item, is what a pair without entries finds.
        pairs = torch.cat([pairs, pairs.new_full((1,), torch.iinfo(torch.int64).max)])
        totals = self.values.new_zeros(len(pairs), n_relations)
        totals = totals.index_put((pair, self.relations), self.values, accumulate=True)
        rows = torch.arange(len(items), device=items.device)[:, None]
        wanted = rows * _STRIDE + items
        place = torch.searchsorted(pairs, wanted)
        return totals[place] * (pairs[place] == wanted)[..., None]

    def on_own(self, items: Tensor) -> Tensor:
        """What is added to the scores of each row's own items. Shape ``[N, C]``."""
        alike = self._replace(relations=torch.zeros_like(self.relations))
        return alike.by_relation(items, 1)[..., 0]
