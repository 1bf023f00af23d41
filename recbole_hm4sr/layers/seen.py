"""Where among the candidates of a loss the items stand that a row leaves out."""

import torch
from torch import Tensor


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
