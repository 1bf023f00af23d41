"""The best items of each row of scores, ties always broken the same way."""

import torch
from torch import Tensor

_ROWS_AT_A_TIME = 64


def top_items(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best columns of each row; equal scores stand in the order of their columns.

    ``torch.topk`` takes any of the columns that tie for the last places, and orders equal scores
    as it likes.

    Args:
        scores: Shape ``[B, I]``, floating.
        k: At most I.

    Returns:
        Scores, best first, and columns, both of shape ``[B, k]``.
    """
    values, columns = scores.topk(min(k + 1, scores.shape[1]))
    if values.shape[1] > k:
        last = values[:, k - 1]
        open_rows = torch.nonzero((last == values[:, k]) & torch.isfinite(last)).squeeze(1)
        values, columns = values[:, :k], columns[:, :k]
        for rows in open_rows.split(_ROWS_AT_A_TIME):
            best = scores[rows].sort(dim=1, descending=True, stable=True)
            values[rows], columns[rows] = best.values[:, :k], best.indices[:, :k]
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)
