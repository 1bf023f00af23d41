"""Items that a model cannot tell apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

_HASHED_ROWS = 4096
# Sums of float32 in another order differ by less, relative to the largest score of the row.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class IdenticalItems:
    """Items that no score can tell apart, since their vectors are the same.

    A matrix product may treat its last columns, or a batch of one row, by another order of sums.
    Then the scores of twins differ in the last bit, and the tie is broken by chance. So a twin gets
    the score of the first of its kind.

    Attributes:
        items: All but the first of each kind. Shape ``[T]``, int64.
        firsts: The first of its kind. Shape ``[T]``, int64.
    """

    items: Tensor
    firsts: Tensor

    def unite(self, scores: Tensor) -> None:
        """Give twins the same score, in place, where rounding alone can have parted them.

        Args:
            scores: Shape ``[B, I]``, floating.
        """
        if len(self.items):
            first, own = scores[:, self.firsts], scores[:, self.items]
            scale = scores.abs().nan_to_num(posinf=0).amax(dim=1, keepdim=True)
            parted = (first - own).abs() > _ROUNDING * scale
            scores[:, self.items] = torch.where(parted, own, first)


def find_identical_items(
    vectors: Tensor, marks: Callable[[Tensor], Tensor | None] = lambda _: None
) -> IdenticalItems:
    """Items of which a model reads the same: rows of a table, and perhaps more.

    Args:
        vectors: Shape ``[I, V]``, floating.
        marks: For items, ``[K]``, int64, numbers that are equal where all else that is read of them
            is, of the same shape; None if nothing is. Asked of items with equal rows.
    """
    table = vectors.detach().cpu().float().contiguous().numpy()
    weights = np.random.default_rng(0).integers(1 << 62, size=table.shape[1], dtype=np.int64) | 1
    hashes = np.empty(len(table), dtype=np.int64)
    for start in range(0, len(table), _HASHED_ROWS):
        bits = table[start : start + _HASHED_ROWS].view(np.int32).astype(np.int64)
        hashes[start : start + _HASHED_ROWS] = (bits * weights).sum(axis=1)  # wraps around
    codes, _ = pd.factorize(hashes)
    shared = np.flatnonzero(np.bincount(codes, minlength=1)[codes] > 1)
    own = marks(torch.from_numpy(shared).to(vectors.device)) if len(shared) else None
    if own is not None:
        pairs = pd.MultiIndex.from_arrays([codes[shared], own.cpu().numpy()])
        codes[shared] = len(codes) + pd.factorize(pairs)[0]
    first_of = np.zeros(codes.max(initial=-1) + 1, dtype=np.int64)
    first_of[codes[::-1]] = np.arange(len(table))[::-1]
    items = np.flatnonzero(first_of[codes] != np.arange(len(table)))
    firsts = first_of[codes[items]]
    same: Any = (table[items] == table[firsts]).all(axis=1)
    return IdenticalItems(torch.from_numpy(items[same]), torch.from_numpy(firsts[same]))
