"""What is recommended to each user, as arrays, as a table and as plain values."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_NAMED_USERS = 20


@dataclass(frozen=True)
class NamedReasons:
    """Why each item is recommended, by the rule of :mod:`recbole_hm4sr.model.explain`.

    Attributes:
        kinds: ``memory`` and ``history`` name an item of the history, others do not; empty where
            there is no reason. Shape ``[U, K]``, object.
        items: Raw token of the item of the history; None where it is none. Shape ``[U, K]``,
            object.
        titles: Its title; empty where that is not known. Shape ``[U, K]``, object.
        shares: The reason's part of what lifts the score above that of the median item of the
            catalogue; NaN where there is none. Shape ``[U, K]``, float32.
    """

    kinds: Array
    items: Array
    titles: Array
    shares: Array

    def columns(self, users: Array, ranks: Array) -> dict[str, Array]:
        """As columns of a table, for some places."""
        at = users, ranks
        return {
            "reason": self.kinds[at],
            "reason_item": self.items[at],
            "reason_title": self.titles[at],
            "reason_share": self.shares[at],
        }

    def record(self, user: int, rank: int) -> dict[str, Any] | None:
        """As plain values; what is not known is left out."""
        kind, share = self.kinds[user, rank], self.shares[user, rank]
        if not kind:
            return None
        found = {"kind": kind, "item": self.items[user, rank], "title": self.titles[user, rank]}
        record = {name: value for name, value in found.items() if value}
        return record if np.isnan(share) else {**record, "share": plain_number(share)}


@dataclass(frozen=True)
class Recommendations:
    """The best items of each user.

    Attributes:
        users: Names of a file or data frame, by first appearance; places in a list. Shape ``[U]``,
            object.
        items: Raw tokens, best first; None where fewer than K are left. Shape ``[U, K]``, object.
        scores: The model's; of users whom the model cannot score, how often the item occurs in
            the training part, or in what the memory knows. NaN beside None. Shape ``[U, K]``,
            float32.
        by_model: False for users without a known item in their history, who get the most frequent
            items. Shape ``[U]``, bool.
        unknown_items: Interactions of each user that were skipped. Shape ``[U]``, int64.
        streams: Names of the parts of a score; empty unless asked for.
        shares: Part of each stream in the score; they sum to it. NaN where not by the model.
            Shape ``[U, K, M]``, float32.
        reasons: Why each is recommended; None unless asked for.
        known_until: The moment up to which the memory knows, in the unit of the run's times; None
            for a model without a memory.
        details: Columns of the items that were asked for, by name: a number, a text, a list of
            texts or None each. Shape ``[U, K]``, object.
    """

    users: Array
    items: Array
    scores: Array
    by_model: Array
    unknown_items: Array
    streams: tuple[str, ...]
    shares: Array
    reasons: NamedReasons | None = None
    known_until: int | None = None
    details: Mapping[str, Array] = field(default_factory=dict)

    @property
    def users_without_items(self) -> Array:
        """Users who get no item, since they have taken all that may be. Shape ``[V]``, object."""
        return self.users[np.isnan(self.scores).all(axis=1)]

    def table(self, user_field: str = "user_id", item_field: str = "item_id") -> pd.DataFrame:
        """A row a recommendation: user, rank from 1, item, score, source, details, shares, reason.

        A user without items has no row; :attr:`users_without_items` names them.
        """
        users, ranks = np.nonzero(~np.isnan(self.scores))
        columns: dict[str, Any] = {
            user_field: self.users[users],
            "rank": ranks + 1,
            item_field: self.items[users, ranks],
            "score": self.scores[users, ranks],
            "source": np.where(self.by_model, "model", "popular")[users],
        }
        for name, cells in self.details.items():
            columns[name] = [shown_cell(cell) for cell in cells[users, ranks]]
        for number, name in enumerate(self.streams):
            columns[f"share_{name}"] = self.shares[users, ranks, number]
        if self.reasons is not None:
            columns |= self.reasons.columns(users, ranks)
        return pd.DataFrame(columns)

    def lists(self, user_field: str = "user_id", item_field: str = "item_id") -> pd.DataFrame:
        """A row a user: source, items, scores and details, each a list, best first.

        A user without items has empty lists.
        """
        left = [~np.isnan(row) for row in self.scores]
        columns: dict[str, Any] = {
            user_field: self.users,
            "source": np.where(self.by_model, "model", "popular"),
            "unknown_items": self.unknown_items,
        }
        parts = {f"{item_field}s": self.items, "scores": self.scores, **self.details}
        for name, cells in parts.items():
            rows = [row[there].tolist() for row, there in zip(cells, left, strict=True)]
            columns[name] = pd.Series(rows, dtype=object)
        return pd.DataFrame(columns)

    def records(self) -> Iterator[dict[str, Any]]:
        """Plain values, a dictionary a user; without items the list of items is empty."""
        for number, user in enumerate(self.users):
            n_items = int(np.count_nonzero(~np.isnan(self.scores[number])))
            yield {
                "user": user,
                "source": "model" if self.by_model[number] else "popular",
                "unknown_items": int(self.unknown_items[number]),
                "items": [self._record(number, rank) for rank in range(n_items)],
            }

    def _record(self, number: int, rank: int) -> dict[str, Any]:
        record = {
            "item": self.items[number, rank],
            "score": plain_number(self.scores[number, rank]),
        }
        if self.details:
            record["details"] = {name: cells[number, rank] for name, cells in self.details.items()}
        if self.streams and self.by_model[number]:
            shares = map(plain_number, self.shares[number, rank])
            record["shares"] = dict(zip(self.streams, shares, strict=True))
        reason = None if self.reasons is None else self.reasons.record(number, rank)
        return record if reason is None else {**record, "reason": reason}


def warn_of_empty(found: Recommendations) -> None:
    """Name the users who get no item, in one warning."""
    users = found.users_without_items
    if len(users):
        named = ", ".join(repr(user) for user in users[:_NAMED_USERS])
        more = f" and {len(users) - _NAMED_USERS:,} more" if len(users) > _NAMED_USERS else ""
        logger.warning(
            "%d of %d users get no item, since they have taken every one that may be recommended: "
            "%s%s",
            len(users),
            len(found.users),
            named,
            more,
        )


def shown_cell(cell: Any) -> Any:
    """A value of a column of items as a cell of a table: lists as their ``.item`` file has them."""
    return " ".join(cell) if isinstance(cell, list) else cell


def plain_number(value: Any) -> float:
    """A number with the digits of float32, not of its nearest float64."""
    return float(str(value))
