"""Interactions as a value: flat arrays in the order of user, time and file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class InteractionLog:
    """All interactions, user after user, oldest first; equal times in the order of the file.

    Attributes:
        users: Number of each interaction's user. Shape ``[N]``, int64, ascending.
        items: Number of its item. Shape ``[N]``, int64.
        times: Its time, in the unit of the file. Shape ``[N]``, int64.
        offsets: Index of each user's first interaction, by the user's number, and N as the last
            entry: the history of user u is ``offsets[u]:offsets[u + 1]``. Shape ``[U + 1]``, int64.
    """

    users: Array
    items: Array
    times: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of_ordered(
        cls, users: Array, items: Array, times: Array, *, n_users: int | None = None
    ) -> "InteractionLog":
        """The log of interactions that are in order already; the arrays are not copied.

        Args:
            users: Shape ``[N]``, int64, 0 or more.
            items: Shape ``[N]``, int64.
            times: Shape ``[N]``, int64.
            n_users: Number of users, padding included; None takes the largest number there is.
        """
        if n_users is None:
            n_users = int(users.max(initial=-1)) + 1
        offsets = np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64)
        return cls(users, items, times, offsets)

    @cached_property
    def starts(self) -> Array:
        """Index at which the history of each interaction's user begins. Shape ``[N]``, int64."""
        return self.offsets[self.users]

    def targets(self) -> Array:
        """Indices of all interactions that have a predecessor, ascending. Int64.

        They are the samples that RecBole's augmentation makes.
        """
        return np.flatnonzero(np.arange(len(self)) > self.starts)


def order_interactions(users: Array, times: Array, *, shuffle_ties: int | None = None) -> Array:
    """The order of interactions by user, then time, then their order in the file.

    Args:
        users: Number of each interaction's user, in file order. Shape ``[N]``, int64.
        times: Shape ``[N]``, int64.
        shuffle_ties: Seed of a random order of equal times; None keeps the file's.

    Returns:
        Index in the given arrays of each interaction of the log. Shape ``[N]``, int64.

    Example:
        >>> order_interactions(np.array([2, 1, 2]), np.array([5, 3, 4])).tolist()
        [1, 2, 0]
    """
    # np.lexsort is stable.
    if shuffle_ties is None:
        return np.lexsort((times, users))
    order = np.random.default_rng(shuffle_ties).permutation(len(users))
    return order[np.lexsort((times[order], users[order]))]


def shown_interactions(log: InteractionLog, targets: Array, ends_before: int | None) -> Array:
    """Which interactions the samples of a part show, as history or as target.

    Args:
        log: All interactions.
        targets: Indices of the part's targets. Shape ``[S]``, int64.
        ends_before: The moment at which the part ends for all users: it shows all that came before
            it. None where every user's part ends with a target.

    Returns:
        Shape ``[N]``, bool.
    """
    if ends_before is not None:
        return log.times < ends_before
    last = np.full(len(log), -1)
    np.maximum.at(last, log.starts[targets], targets)
    return np.arange(len(log)) <= last[log.starts]


def longest_gap(log: InteractionLog, times: Array, shown: Array) -> int:
    """The longest time between two consecutive interactions of a user.

    Args:
        log: All interactions.
        times: Their times, in any unit. Shape ``[N]``, int64.
        shown: Which of them count. Shape ``[N]``, bool.

    Returns:
        In the unit of the times; 0 where no user has two.
    """
    inner = shown & (np.arange(len(log)) > log.starts)
    return int(np.diff(times, prepend=times[:1])[inner].max(initial=0))
