"""Ranks of targets and best items of scores, a block of items at a time.

Equal scores are ordered by item id, smallest first. The rank of a target is one more than the
number of items ordered before it.
"""

from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from recbole_hm4sr.base.errors import TrainingError

_ROWS_AT_A_TIME = 64
# Scores of a block: as many as a CPU's cache holds, but at least 64 users, whose product with the
# items is then still quick; and never more than 2^26 (256 MB).
_CACHED_SCORES = {"cpu": 2**21, "cuda": 2**25}
_MOST_SCORES = 2**26


class Alive(NamedTuple):
    """From when on items are candidates, and when rows ask for them.

    Attributes:
        since: An item is a candidate of the rows whose moment is above this. Shape ``[I]``, int64.
        moments: Of the rows, in the same unit. Shape ``[B]``, int64.
    """

    since: Tensor
    moments: Tensor

    def hide_others(self, scores: Tensor, items: Tensor) -> None:
        """Set the scores of items that are no candidates to minus infinity, in place.

        Args:
            scores: Shape ``[B, K]``.
            items: Shape ``[K]``, int64.
        """
        scores.masked_fill_(self.since[items] >= self.moments[:, None], -torch.inf)


def block_shape(n_users: int, n_items: int, device: str) -> tuple[int, int]:
    """Users and items of one block of scores.

    Args:
        n_users: Users to score, at least 1.
        n_items: Items to score, at least 1.
        device: Type of the device, as ``cpu``.
    """
    cached = _CACHED_SCORES.get(device, 2**25)
    users = max(1, min(n_users, max(_ROWS_AT_A_TIME, cached // n_items), _MOST_SCORES))
    return users, max(1, min(n_items, _MOST_SCORES // users))


def require_numbers(scores: Tensor, own: Tensor) -> None:
    """Refuse scores that cannot be ranked.

    Args:
        scores: Shape ``[B, K]``.
        own: Scores of the targets. Shape ``[B, ...]``.

    Raises:
        TrainingError: If a score is NaN or a target's score is infinite.
    """
    if torch.isnan(scores.sum(dim=1)).any() or not torch.isfinite(own).all():
        refuse_unranked()


def refuse_unranked() -> NoReturn:
    """Say that scores cannot be ranked.

    Raises:
        TrainingError: Always.
    """
    raise TrainingError(
        "every score must be a number, but the model gave NaN or infinity in evaluation; "
        "lower learning_rate"
    )


def is_better(scores: Tensor, own: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Whether an item is ordered before the target; all of one shape."""
    return (scores > own) | ((scores == own) & (items < targets))


def count_better(scores: Tensor, own: Tensor, targets: Tensor) -> Tensor:
    """Number of items of a block that are ordered before each user's target.

    Args:
        scores: Shape ``[B, K]``.
        own: Scores of the targets. Shape ``[B, 1]``.
        targets: Column of each target, counted from the first column of the block: negative or
            beyond the last where the target is in another block. Shape ``[B]``, int64.

    Returns:
        Shape ``[B]``, int64.
    """
    # A few rows at a time: the flags of all rows would leave the cache before they are counted.
    parts = list(zip(scores.split(_ROWS_AT_A_TIME), own.split(_ROWS_AT_A_TIME), strict=True))
    better = torch.cat([(rows > target).sum(dim=1) for rows, target in parts])
    equal_scores = torch.cat([(rows == target).sum(dim=1) for rows, target in parts])
    is_here = (targets >= 0) & (targets < scores.shape[1])
    tied = torch.nonzero(equal_scores > is_here.long()).squeeze(1)
    if len(tied):  # rare: a second pass for these rows only
        columns = torch.arange(scores.shape[1], device=scores.device)
        equal = (scores[tied] == own[tied]) & (columns < targets[tied, None])
        better[tied] += equal.sum(dim=1)
    return better


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best columns of each row; equal scores are in the order of their columns.

    ``torch.topk`` takes any of the columns that tie for the last ranks, and orders equal scores
    as it likes.

    Args:
        scores: Shape ``[B, K]``, floating.
        k: At most K.

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
    return order_by_score(values, columns)


def order_by_score(values: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Best first, equal scores by item; both of shape ``[B, k]``."""
    items, order = items.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, items.gather(1, order)
