"""Attributes of items: the values that a column of the ``.item`` file gives them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.data.categories import refuse_duplicates

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ItemAttribute:
    """The values of one attribute, by item number.

    Attributes:
        values: Numbers of each item's values, from 1, in the order of the file and as often as
            they are there; 0 behind them, and where an item has none. Shape ``[I, c]``, int64.
        names: The values of the numbers from 1, sorted.
        is_single: Whether the column gives each item one value, so that 0 is one as well: that of
            items without any.
    """

    values: Array
    names: tuple[str, ...]
    is_single: bool

    @property
    def n_values(self) -> int:
        """V, how many values there are, 0 included."""
        return len(self.names) + 1


def read_attribute(
    path: Path, item_field: str, column: str, item_tokens: Sequence[str] | Array
) -> ItemAttribute:
    """Read a column of the ``.item`` file.

    Args:
        path: The ``.item`` file.
        item_field: Its column of item tokens.
        column: A ``token`` column has one value an item, a ``token_seq`` column any number.
        item_tokens: Raw token of each internal item id; entry 0 is padding. Length I.

    Raises:
        DataError: If the file is missing or breaks the contract.
    """
    table = read_atomic(path, [item_field, column])
    table.require_kind(column, "token", "token_seq")
    refuse_duplicates(table, item_field)
    by_token = dict(zip(table.tokens(item_field), table.sequences(column), strict=True))
    rows = [[], *([name for name in by_token.get(token, []) if name] for token in item_tokens[1:])]
    names = sorted({name for row in rows for name in row})
    number = {name: index for index, name in enumerate(names, start=1)}
    values = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
    for item, row in enumerate(rows):
        values[item, : len(row)] = [number[name] for name in row]
    return ItemAttribute(values, tuple(names), is_single=table.kinds[column] == "token")
