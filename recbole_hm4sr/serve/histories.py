"""Histories as a model reads them: internal ids, oldest first, windows of the most recent."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_hm4sr.serve.history_table import RawHistories, number_items

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class UserHistories:
    """The known interactions of each user, user after user, oldest first.

    Attributes:
        users: Shape ``[U]``, object.
        items: Internal item ids. Shape ``[N]``, int64.
        times: In the run's unit since the epoch. Shape ``[N]``, int64.
        starts: Where each user's begin, and N. Shape ``[U + 1]``, int64.
        unknown: Interactions of each user left out, since the model does not know their items.
            Shape ``[U]``, int64.
    """

    users: Array
    items: Tensor
    times: Tensor
    starts: Tensor
    unknown: Array

    @property
    def lengths(self) -> Tensor:
        """Interactions of each user. Shape ``[U]``, int64."""
        return self.starts.diff()

    def windows(self, users: Tensor, max_length: int) -> tuple[Tensor, Tensor, Tensor]:
        """The most recent interactions of some users, none of them without history.

        Args:
            users: Their numbers. Shape ``[B]``, int64.
            max_length: L.

        Returns:
            Items and times, oldest first, padded with 0 on the right, both of shape ``[B, L]``;
            and their lengths, shape ``[B]``; all int64.
        """
        ends = self.starts[users + 1]
        begins = torch.maximum(self.starts[users], ends - max_length)
        lengths = ends - begins
        steps = torch.arange(max_length)
        padding = steps >= lengths[:, None]  # [B, L]
        places = (begins[:, None] + steps).masked_fill_(padding, 0)
        items, times = (values[places].masked_fill_(padding, 0) for values in self._columns)
        return items, times, lengths

    @property
    def _columns(self) -> tuple[Tensor, Tensor]:
        return self.items, self.times

    def taken(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All items of some users, older than their windows too.

        Args:
            users: Their numbers. Shape ``[B]``, int64.

        Returns:
            Row in ``users`` and item of each, both of shape ``[H]``, int64.
        """
        lengths = self.lengths[users]
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        offsets = lengths.cumsum(0) - lengths
        places = torch.arange(len(rows)) - offsets[rows] + self.starts[users][rows]
        return rows, self.items[places]


def number_histories(
    raw: RawHistories, items: "pd.Index[Any]", *, keep: str | None
) -> UserHistories:
    """Leave out unknown items, order by time, and number items as the model does.

    Args:
        raw: As given.
        items: Raw tokens of the items 1, 2, ...
        keep: ``rm_dup_inter`` of the run: which interaction of a user and item stays, ``first``,
            ``last`` or, as None, all.

    Returns:
        Histories; a user's interactions of equal time keep the order they were given in.
    """
    numbers = number_items(raw.items, items)
    known = numbers > 0
    n_users = len(raw.users)
    unknown = np.bincount(raw.user[~known], minlength=n_users)
    if not known.all():
        _warn(raw.items[~known], unknown, len(known))
    user, numbers, times = raw.user[known], numbers[known], raw.times[known]
    order = np.lexsort((times, user))  # stable
    user, numbers, times = user[order], numbers[order], times[order]
    if keep is not None:
        twice = pd.DataFrame({"user": user, "item": numbers}).duplicated(keep=keep)
        stays = ~twice.to_numpy()
        user, numbers, times = user[stays], numbers[stays], times[stays]
    starts = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(user, minlength=n_users), out=starts[1:])
    return UserHistories(
        users=raw.users,
        items=torch.from_numpy(numbers.astype(np.int64)),
        times=torch.from_numpy(times),
        starts=torch.from_numpy(starts),
        unknown=unknown,
    )


def _warn(items: Array, unknown: Array, total: int) -> None:
    distinct = pd.unique(items)
    logger.warning(
        "%d of %d interactions, of %d users, are skipped: the model does not know their %d items, "
        "e.g. %s",
        len(items),
        total,
        np.count_nonzero(unknown),
        len(distinct),
        ", ".join(repr(str(token)) for token in distinct[:3]),
    )
