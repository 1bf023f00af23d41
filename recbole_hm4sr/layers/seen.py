"""Which items a user has taken before a target: no candidates where a ranking leaves them out."""

import torch
from torch import Tensor

from recbole_hm4sr.layers.packing import Packing


def seen_items(packing: Packing, items: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """The items before each target, in its window.

    Args:
        packing: Arrangement of the tokens.
        items: Packed items. Shape ``[T]``, int64.
        places: Packed number of the last token before each target. Shape ``[B]``, int64.
        targets: Shape ``[B]``, int64.

    Returns:
        Pairs of a target's number and an item, by ascending number; an item that was taken twice
        stands twice, the target itself never. Shape ``[E, 2]``, int64.
    """
    n_before = packing.position[places] + 1
    rows = torch.arange(len(places), device=places.device).repeat_interleave(n_before)
    ends = n_before.cumsum(0)
    backwards = ends[rows] - 1 - torch.arange(len(rows), device=places.device)
    pairs = torch.stack([rows, items[places[rows] - backwards]], dim=1)
    return pairs[pairs[:, 1] != targets[rows]]


def places_of(seen: Tensor, candidates: Tensor, n_rows: int) -> Tensor:
    """Where among some candidates the seen items stand.

    Args:
        seen: Pairs of a row and an item. Shape ``[E, 2]``, int64.
        candidates: Items, some more than once. Shape ``[K]``, int64.
        n_rows: B, rows that ``seen`` counts.

    Returns:
        Pairs of a row and a place in ``candidates``, each once, in ascending order. Shape
        ``[P, 2]``, int64.
    """
    distinct, of_candidate = torch.unique(candidates, return_inverse=True)
    place = torch.searchsorted(distinct, seen[:, 1].contiguous()).clamp_(max=len(distinct) - 1)
    hit = distinct[place] == seen[:, 1]
    flags = torch.zeros(n_rows, len(distinct), dtype=torch.bool, device=seen.device)
    flags[seen[hit, 0], place[hit]] = True
    return flags[:, of_candidate].nonzero()
