"""Items like others, by the rows of the model or by features alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.serve.items import Selection, ServedItems
from recbole_hm4sr.serve.recommendations import plain_number, shown_cell
from recbole_hm4sr.serve.rules import Rules

Array = np.ndarray[Any, Any]
_MOST_SCORES = 1 << 26
_ITEMS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class SimilarItems:
    """The items that are most like each of some items.

    Attributes:
        asked: Raw tokens of the items that were asked for. Shape ``[Q]``, object.
        is_known: Whether each is an item of the run. Shape ``[Q]``, bool.
        items: Raw tokens, most like first; None where fewer than K are left. Shape ``[Q, K]``,
            object.
        scores: Cosines; NaN beside None. Shape ``[Q, K]``, float32.
        details: Columns of the items that were asked for, by name. Shape ``[Q, K]``, object.
    """

    asked: Array
    is_known: Array
    items: Array
    scores: Array
    details: Mapping[str, Array] = field(default_factory=dict)

    @property
    def without_answer(self) -> Array:
        """Those that no item is told for. Shape ``[V]``, object."""
        return self.asked[np.isnan(self.scores).all(axis=1)]

    def table(self, item_field: str = "item_id") -> pd.DataFrame:
        """A row an answer: item, rank from 1, similar item, score, details."""
        asked, ranks = np.nonzero(~np.isnan(self.scores))
        columns: dict[str, Any] = {
            item_field: self.asked[asked],
            "rank": ranks + 1,
            f"similar_{item_field}": self.items[asked, ranks],
            "score": self.scores[asked, ranks],
        }
        for name, cells in self.details.items():
            columns[name] = [shown_cell(cell) for cell in cells[asked, ranks]]
        return pd.DataFrame(columns)

    def records(self) -> Iterator[dict[str, Any]]:
        """Plain values, a dictionary for each item that was asked for."""
        for number, asked in enumerate(self.asked):
            ranks = np.flatnonzero(~np.isnan(self.scores[number])).tolist()
            yield {
                "item": asked,
                "known": bool(self.is_known[number]),
                "items": [self._record(number, rank) for rank in ranks],
            }

    def _record(self, number: int, rank: int) -> dict[str, Any]:
        at = number, rank
        record = {"item": self.items[at], "score": plain_number(self.scores[at])}
        if self.details:
            record["details"] = {name: cells[at] for name, cells in self.details.items()}
        return record


def find_similar(
    served: ServedItems,
    asked: Sequence[str],
    k: int,
    *,
    by: str,
    rules: Rules,
    show: Sequence[str] = (),
) -> SimilarItems:
    """The items that are most like each of some items, none of them itself.

    Args:
        served: The items of a run.
        asked: Raw tokens.
        k: Items for each; fewer where fewer are left.
        by: ``model``, ``features`` or a modality.
        rules: What may be told.
        show: Columns to tell of each item.

    Raises:
        ConfigError: If k is below 1, or a rule, ``by`` or a column of ``show`` is wrong.
        DataError: If none of the items is known.
    """
    if k < 1:
        raise ConfigError(f"k must be 1 or more, got {k}")
    served.require(show)
    numbers = served.named(asked, "items")
    if len(numbers) and not numbers.any():
        raise DataError(
            f"items must be of the run, but of {len(asked)} none is known, e.g. {asked[0]!r}"
        )
    vectors, selection = served.vectors(by), served.choose(rules)
    k = min(k, selection.size(len(served)))
    found = np.zeros((len(asked), k), dtype=np.int64)
    scores = np.full((len(asked), k), np.nan, dtype=np.float32)
    places = np.flatnonzero(numbers) if k else np.empty(0, dtype=np.int64)
    for part in np.array_split(places, 1 + len(places) * len(served) // _MOST_SCORES):
        if len(part):
            values, items = _nearest(vectors, torch.from_numpy(numbers[part]), selection, k)
            left = np.isfinite(values)
            found[part] = np.where(left, items, 0)
            # The rows are of half precision: of equal ones the product is not quite 1.
            scores[part] = np.where(left, values.clip(-1, 1), np.nan)
    return SimilarItems(
        np.array(list(asked), dtype=object),
        numbers > 0,
        served.tokens[found],
        scores,
        served.details(show, found),
    )


def _nearest(vectors: Tensor, numbers: Tensor, selection: Selection, k: int) -> tuple[Array, Array]:
    """Cosines and numbers of the most like, both of shape ``[B, k]``."""
    numbers = numbers.to(vectors.device)
    own = vectors[numbers].float()
    # Some items at a time: their rows are of half precision, which CPUs do not multiply quickly.
    parts = [own @ rows.float().T for rows in vectors.split(_ITEMS_AT_A_TIME)]
    is_there = [(rows != 0).any(dim=1) for rows in vectors.split(_ITEMS_AT_A_TIME)]
    scores = torch.cat(parts, dim=1).masked_fill_(~torch.cat(is_there), -torch.inf)
    scores[:, 0] = -torch.inf
    scores[torch.arange(len(numbers)), numbers] = -torch.inf
    scores[~(own != 0).any(dim=1)] = -torch.inf
    values, items = selection.top(scores, k)
    return values.cpu().numpy(), items.cpu().numpy()
