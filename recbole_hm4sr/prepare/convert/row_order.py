"""What proves which item a row of a matrix belongs to: RecBole's order, or a mapping file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.text_files import read_text

Array = np.ndarray[Any, Any]
_MAPPING_HEADERS = {"itemID", "item_id:token"}


def read_item_order(config: Any) -> Array:
    """Raw token of each internal item id, as a run with the data set's settings numbers them.

    Args:
        config: RecBole ``Config`` of any model on the data set: the numbers depend on the
            interactions and their filters alone.

    Returns:
        Tokens; entry 0 is padding. Length I.

    Raises:
        DataError: If its files break the contract.
    """
    # Imported here: they take torch's seconds, and a wrong flag must not.
    from recbole_hm4sr.data.recbole import MultiModalSequentialDataset

    return MultiModalSequentialDataset(config).item_tokens


def read_mapping(path: Path, item_tokens: Array) -> Array:
    """The token of each row, by a file of ``token <tab> row`` lines, with or without a header.

    Data sets prepared by MMRec and UniSRec name their items by the row itself. So where the items
    of the data set are rows and not tokens of the mapping, the row is the token.

    Args:
        path: ``i_id_mapping.csv`` of MMRec (its header names the column ``itemID``), or
            ``<name>.item2index`` of UniSRec.
        item_tokens: Raw tokens of the data set; entry 0 is padding.

    Raises:
        DataError: If the rows are not 0, 1, 2, ..., or it cannot be told what names the items.
    """
    tokens = _tokens_by_row(path)
    n_rows = len(tokens)
    items = set(map(str, item_tokens[1:]))
    by_token, by_row = len(items & set(tokens)), len(items & {str(n) for n in range(n_rows)})
    rows = [str(number) for number in range(n_rows)]
    if by_token and (not by_row or tokens == rows or by_row < by_token == len(items)):
        return np.array(tokens)
    if by_row and (not by_token or by_token < by_row == len(items)):
        return np.array(rows)
    raise DataError(
        f"{path} must name the {len(items):,} items of the data set, got {by_token:,} of them as "
        f"tokens and {by_row:,} as rows; the order of the features cannot be proved"
    )


def _tokens_by_row(path: Path) -> list[str]:
    """The token of each row, if every row from 0 on has one line."""
    pairs = list(_mapping_lines(path))
    if not pairs:
        raise DataError(f"{path} must hold lines of token and row, got none")
    tokens: list[str] = [""] * len(pairs)
    seen = np.zeros(len(pairs), dtype=np.bool_)
    for line, token, row in pairs:
        # Python refuses to read thousands of digits, with an error of its own.
        is_row = row.isdecimal() and len(row) < 20 and int(row) < len(pairs)
        if not is_row or seen[int(row)]:
            raise DataError(
                f"{path}, line {line}: rows must be 0 to {len(pairs) - 1}, each once, got "
                f"{row[:40]!r}"
            )
        tokens[int(row)], seen[int(row)] = token, True
    return tokens


def _mapping_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, token and row of each line; a header decides which column is which."""
    lines = read_text(path, "the mapping", DataError).splitlines()
    row_column = 1
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if len(cells) != 2:
            raise DataError(
                f"{path}, line {number} must have 2 columns separated by a tab, got {len(cells)}"
            )
        if number == 1 and _MAPPING_HEADERS & set(cells):
            row_column = 0 if cells[0] in _MAPPING_HEADERS else 1
            continue
        yield number, cells[1 - row_column], cells[row_column]
