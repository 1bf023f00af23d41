"""The best items of all users, as arrays that are filled batch by batch."""

from typing import Any

import numpy as np

from recbole_hm4sr.model.explain import NONE, Reasons

Array = np.ndarray[Any, Any]


class TopItems:
    """Arrays that are filled batch by batch.

    Args:
        n_users: U.
        k: Items a user.
        n_streams: Parts of a score that are told; None without reasons.

    Attributes:
        items: Numbers, best first; 0 where there is none. Shape ``[U, K]``, int64.
        scores: NaN where there is none. Shape ``[U, K]``, float32.
        shares: Shape ``[U, K, M]``, float32.
        reasons: Why each is there; None unless asked for.
    """

    def __init__(self, n_users: int, k: int, n_streams: int | None) -> None:
        self.k = k
        self.items = np.zeros((n_users, k), dtype=np.int64)
        self.scores = np.full((n_users, k), np.nan, dtype=np.float32)
        self.shares = np.full((n_users, k, n_streams or 0), np.nan, dtype=np.float32)
        self.reasons: Reasons | None = None
        if n_streams is not None:
            kinds = np.full((n_users, k), NONE, dtype=object)
            nothing = np.full((n_users, k), np.nan, dtype=np.float32)
            self.reasons = Reasons(kinds, np.zeros((n_users, k), dtype=np.int64), nothing)

    def put(self, users: Array, items: Array, scores: Array) -> None:
        """Note the items of some users.

        Args:
            users: Their numbers. Shape ``[B]``, int64.
            items: Shape ``[B, K]``, int64.
            scores: Minus infinity where nothing is left. Shape ``[B, K]``.
        """
        left = np.isfinite(scores)
        self.items[users] = np.where(left, items, 0)
        self.scores[users] = np.where(left, scores, np.nan)

    def explain(self, users: Array, reasons: Reasons, shares: Array | None) -> None:
        """Say why what was put is there."""
        assert self.reasons is not None
        for whole, values in zip(self.reasons, reasons, strict=True):
            whole[users] = values
        if shares is not None:
            left = ~np.isnan(self.scores[users])
            self.shares[users] = np.where(left[..., None], shares, np.nan)
