"""The newest interactions of each user: what new ones are set against, and make events with."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_hm4sr.data.events import Interactions, starts_of
from recbole_hm4sr.data.visits import number_visits

Array = np.ndarray[Any, Any]
# So many are kept of a user, more where a memory reaches further.
KEPT = 10


class NewRows(NamedTuple):
    """Interactions that come, in the order of their file.

    Attributes:
        users: Number of each one's user; a new user has a number behind the old ones. ``[N]``,
            int64.
        items: Shape ``[N]``, int64.
        times: Shape ``[N]``, int64.
    """

    users: Array
    items: Array
    times: Array

    def where(self, flags: Array) -> "NewRows":
        """Some of them. Flags of shape ``[N]``, bool."""
        return NewRows(*(column[flags] for column in self))


@dataclass(frozen=True)
class RefreshState:
    """The newest interactions of each user among those that make events.

    Attributes:
        users: Raw tokens by number; entry 0 is padding. Shape ``[U]``, unicode.
        positions: Interactions of each user, all of them. Shape ``[U]``, int64.
        offsets: Where the kept ones of each user begin, and H. Shape ``[U + 1]``, int64.
        items: Oldest first. Shape ``[H]``, int32.
        times: Shape ``[H]``, int64.
    """

    users: Array
    positions: Array
    offsets: Array
    items: Array
    times: Array

    def kept_rows(self, users: Array) -> tuple[Array, Array]:
        """What is kept of some users: their places in ``users``, and rows of the arrays."""
        counts = self.offsets[users + 1] - self.offsets[users]
        starts = starts_of(counts)
        who = np.repeat(np.arange(len(users)), counts)
        return who, np.arange(starts[-1]) + (self.offsets[users] - starts[:-1])[who]

    def sort_out(self, rows: NewRows) -> tuple[Array, Array]:
        """Which rows are there already, and which come too late.

        Args:
            rows: Those that come.

        Returns:
            Rows equal to a kept one of their user; other rows older than their user's newest.
            Shape ``[N]`` each, bool.
        """
        known = np.unique(rows.users[rows.users < len(self.users)])
        who, kept = self.kept_rows(known)
        there = pd.DataFrame(
            {
                "user": known[who],
                "item": self.items[kept].astype(np.int64),
                "time": self.times[kept],
            }
        )
        came = pd.DataFrame(rows._asdict()).set_axis(["user", "item", "time"], axis=1)
        found = came.merge(there.drop_duplicates(), how="left", indicator=True)
        is_kept = (found["_merge"] == "both").to_numpy()
        newest = pd.Series(self.times[kept]).groupby(known[who]).max()
        bound = pd.Series(rows.users).map(newest)  # missing for a user without any
        return is_kept, ~is_kept & (rows.times < bound.fillna(-np.inf)).to_numpy()

    def new_log(self, rows: NewRows, *, gap: int) -> Interactions:
        """The kept and the new interactions of the users who have new ones.

        Args:
            rows: In the order of user and time; none older than its user's newest.
            gap: The longest time between two interactions of one visit.
        """
        users = np.unique(rows.users)
        old = users[users < len(self.users)]
        who, kept = self.kept_rows(old)
        both = np.concatenate([old[who], rows.users])
        order = np.argsort(both, kind="stable")
        both = both[order]
        items = np.concatenate([self.items[kept], rows.items])[order]
        times = np.concatenate([self.times[kept], rows.times])[order]
        fresh = np.repeat([False, True], [len(kept), len(rows.users)])[order]
        starts = np.searchsorted(both, both)
        return Interactions(items, times, starts, number_visits(times, starts, gap=gap), fresh)

    def extended(self, rows: NewRows, tokens: Array, *, keep: int) -> "RefreshState":
        """The state after new interactions.

        Args:
            rows: In the order of user and time.
            tokens: Raw tokens of all users by number, new ones behind the old. Shape ``[U']``,
                unicode.
            keep: How many interactions of a user are kept.
        """
        n_users = len(tokens)
        counts = np.zeros(n_users, dtype=np.int64)
        counts[: len(self.users)] = np.diff(self.offsets)
        users = np.concatenate([np.repeat(np.arange(n_users), counts), rows.users])
        order = np.argsort(users, kind="stable")
        positions = np.bincount(rows.users, minlength=n_users)
        positions[: len(self.users)] += self.positions
        return keep_newest(
            users[order],
            np.concatenate([self.items, rows.items])[order],
            np.concatenate([self.times, rows.times])[order],
            positions=positions,
            tokens=tokens,
            keep=keep,
        )


def keep_newest(
    users: Array, items: Array, times: Array, *, positions: Array, tokens: Array, keep: int
) -> RefreshState:
    """The newest of interactions ordered by user and time.

    Args:
        users: Shape ``[N]``, int64, ascending.
        items: Shape ``[N]``.
        times: Shape ``[N]``, int64.
        positions: How many interactions each user has. Shape ``[U]``, int64.
        tokens: Raw tokens of the users by number. Shape ``[U]``, unicode.
        keep: At most as many of a user.
    """
    ends = np.searchsorted(users, users, side="right")
    is_kept = np.arange(len(users)) >= ends - keep
    counts = np.bincount(users[is_kept], minlength=len(tokens))
    return RefreshState(
        users=tokens,
        positions=positions,
        offsets=starts_of(counts),
        items=items[is_kept].astype(np.int32),
        times=times[is_kept],
    )
