"""The words of items: texts from the columns of an ``.item`` file."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import read_atomic

Array = np.ndarray[Any, Any]


def read_item_texts(
    item_file: Path, fields: Sequence[str], *, item_field: str
) -> tuple[Array, list[str]]:
    """The token and the text of each line of an ``.item`` file.

    Args:
        item_file: The file.
        fields: Columns whose words make the text, in this order.
        item_field: Name of the column of item tokens.

    Returns:
        Tokens, unicode; and one text a token.

    Raises:
        DataError: If the file breaks the contract or lacks a column.
    """
    table = read_atomic(item_file)
    missing = [name for name in fields if name not in table.kinds]
    if missing:
        raise DataError(
            f"{item_file}, line 1 must have the text_fields {', '.join(missing)}, got "
            f"{', '.join(table.kinds)}"
        )
    columns = [table.sequences(name) for name in fields]
    texts = [" ".join(itertools.chain.from_iterable(row)) for row in zip(*columns, strict=True)]
    return table.tokens(item_field).astype(np.str_), texts
