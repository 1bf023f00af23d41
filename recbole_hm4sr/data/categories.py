"""What an ``.item`` file says of its items once: categories, and that no item has two lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic

Array = np.ndarray[Any, Any]


def read_categories(
    path: Path, item_field: str, field: str, item_tokens: Sequence[str] | Array
) -> tuple[Array, tuple[str, ...]]:
    """Item categories as 0/1 flags.

    Args:
        path: The ``.item`` file.
        item_field: Its column of item tokens.
        field: Its column of categories.
        item_tokens: Raw token of each internal item id; entry 0 is padding. Length I.

    Returns:
        Flags by internal item id, shape ``[I, C]``, uint8, row 0 zero; and the names of the C
        categories, sorted.

    Raises:
        DataError: If the file is missing or breaks the contract.
    """
    table = read_atomic(path, [item_field, field])
    tokens = table.tokens(item_field)
    refuse_duplicates(table, item_field)
    by_token = dict(zip(tokens, table.sequences(field), strict=True))
    rows = [by_token.get(token, []) for token in item_tokens[1:]]
    names = sorted({name for row in rows for name in row if name})
    column = {name: number for number, name in enumerate(names)}
    flags = np.zeros((len(item_tokens), len(names)), dtype=np.uint8)
    for item, row in enumerate(rows, start=1):
        flags[item, [column[name] for name in row if name]] = 1
    return flags, tuple(names)


def refuse_duplicates(table: AtomicTable, column: str) -> None:
    """Raise if a token stands on two lines.

    Raises:
        DataError: Naming the first such token and two of its lines.
    """
    tokens = table.tokens(column)
    duplicated = pd.Series(tokens).duplicated(keep=False).to_numpy()
    if duplicated.any():
        token = tokens[duplicated][0]
        first, second = np.flatnonzero(tokens == token)[:2] + 2
        raise DataError(
            f"{table.path}: {column} must be on one line each, got {token!r} in lines {first} and "
            f"{second}"
        )
