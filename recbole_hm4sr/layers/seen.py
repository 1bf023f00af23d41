"""Seen items among the candidates of a loss."""

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.layers.softmax import HiddenPairs


def pairs_of_rows(pairs: Tensor, n_rows: int) -> HiddenPairs:
    """Pairs of a row and an item, with where those of each row begin.

    Args:
        pairs: By ascending row, on the CPU. Shape ``[E, 2]``, int64.
        n_rows: B.
    """
    begins = np.searchsorted(pairs[:, 0].numpy(), np.arange(n_rows + 1))
    return HiddenPairs(pairs, begins)


def without(pairs: Tensor, others: Tensor) -> Tensor:
    """Pairs that are not among others, in their order.

    Args:
        pairs: Shape ``[E, 2]``, int64, below 2^31.
        others: Shape ``[F, 2]``, int64, below 2^31.
    """
    keys, other_keys = (rows * 2**31 + items for rows, items in (pairs.T, others.T))
    return pairs[~torch.isin(keys, other_keys)]


def holds(pairs: Tensor, candidates: Tensor, n_rows: int) -> Tensor:
    """Which candidates are in a row's pairs.

    Counted by differences: nothing here has a size that depends on values.

    Args:
        pairs: Pairs of a row and an item. Shape ``[E, 2]``, int64.
        candidates: Items, some more than once. Shape ``[K]``, int64.
        n_rows: B.

    Returns:
        True where the row has a pair with the candidate. Shape ``[B, K]``, bool.
    """
    ordered, order = candidates.sort()
    rows, items = pairs[:, 0], pairs[:, 1].contiguous()
    steps = torch.zeros(n_rows, len(candidates) + 1, dtype=torch.int32, device=pairs.device)
    one = steps.new_ones(len(pairs))
    # Equal candidates are side by side: a pair covers all from the first to the last of them.
    steps.index_put_((rows, torch.searchsorted(ordered, items)), one, accumulate=True)
    steps.index_put_((rows, torch.searchsorted(ordered, items, right=True)), -one, accumulate=True)
    covered = steps.cumsum(dim=1, dtype=torch.int32)[:, :-1] > 0
    return covered.index_select(1, order.argsort())


def holds_own(pairs: Tensor, candidates: Tensor) -> Tensor:
    """Which of a row's own candidates are in its pairs.

    Args:
        pairs: Pairs of a row and an item. Shape ``[E, 2]``, int64.
        candidates: Items of each row. Shape ``[B, K]``, int64.

    Returns:
        Shape ``[B, K]``, bool.
    """
    if not len(pairs):
        return torch.zeros_like(candidates, dtype=torch.bool)
    rows = torch.arange(len(candidates), device=candidates.device)[:, None]
    # A number for each pair that is one of a pair alone: items are below 2**31.
    known = ((pairs[:, 0] << 31) + pairs[:, 1]).sort().values
    wanted = (rows << 31) + candidates
    found = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return known[found] == wanted
