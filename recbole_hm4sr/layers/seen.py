"""Which items a user has taken before a target: no candidates where a ranking leaves them out."""

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.layers.packing import Packing
from recbole_hm4sr.layers.softmax import HiddenPairs


def seen_items(packing: Packing, items: Tensor, places: Tensor, targets: Tensor) -> HiddenPairs:
    """The items before each target, in its window.

    How many there are depends on the values, so all tensors are to be on the CPU.

    Args:
        packing: Arrangement of the tokens.
        items: Packed items. Shape ``[T]``, int64.
        places: Packed number of the last token before each target. Shape ``[B]``, int64.
        targets: Shape ``[B]``, int64.

    Returns:
        Pairs of a target's number and an item, by ascending number; an item that was taken twice
        stands twice, the target itself never.
    """
    n_before = packing.position[places] + 1
    rows = torch.arange(len(places)).repeat_interleave(n_before)
    ends = n_before.cumsum(0)
    backwards = ends[rows] - 1 - torch.arange(len(rows))
    pairs = torch.stack([rows, items[places[rows] - backwards]], dim=1)
    pairs = pairs[pairs[:, 1] != targets[rows]]
    return pairs_of_rows(pairs, len(places))


def pairs_of_rows(pairs: Tensor, n_rows: int) -> HiddenPairs:
    """Pairs of a row and an item, with where those of each row begin.

    Args:
        pairs: By ascending row, on the CPU. Shape ``[E, 2]``, int64.
        n_rows: B.
    """
    begins = np.searchsorted(pairs[:, 0].numpy(), np.arange(n_rows + 1))
    return HiddenPairs(pairs, begins)


def holds(pairs: Tensor, candidates: Tensor, n_rows: int) -> Tensor:
    """Which candidates stand in a row's pairs.

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
    # Equal candidates stand side by side: a pair covers all from the first to the last of them.
    steps.index_put_((rows, torch.searchsorted(ordered, items)), one, accumulate=True)
    steps.index_put_((rows, torch.searchsorted(ordered, items, right=True)), -one, accumulate=True)
    covered = steps.cumsum(dim=1, dtype=torch.int32)[:, :-1] > 0
    return covered.index_select(1, order.argsort())
