"""Columns of large tables in little memory: each token is kept once, a row holds its number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
_TAB, _LINE_END, _RETURN = 9, 10, 13


def read_blocks(path: Path, size: int) -> Iterator[bytes]:
    """The content of a file as blocks of whole lines, of about ``size`` bytes each."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(size):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
    if rest:
        yield rest


def count_regular_lines(block: bytes, n_columns: int) -> int:
    """How many lines a block has, if all are regular.

    A regular line ends with a line end, is not blank, holds no zero byte and has ``n_columns``
    columns separated by tabs.

    Args:
        block: Whole lines.
        n_columns: Columns of a regular line.

    Returns:
        The number of lines; 0 if one of them is not regular.
    """
    if not block.endswith(b"\n") or b"\0" in block:
        return 0
    letters = np.frombuffer(block, dtype=np.uint8)
    separators = np.flatnonzero((letters == _TAB) | (letters == _LINE_END))
    line_ends = np.flatnonzero(letters[separators] == _LINE_END)
    if (np.diff(line_ends, prepend=-1) != n_columns).any():
        return 0
    if n_columns == 1:  # with more, the tabs say that a line is not blank
        ends = separators[line_ends]
        lengths = np.diff(ends, prepend=-1)
        if (lengths == 1).any() or ((lengths == 2) & (letters[ends - 1] == _RETURN)).any():
            return 0
    return len(line_ends)


def gather_columns(
    chunks: Iterable[pd.DataFrame], kinds: Mapping[str, str], n_rows: int
) -> tuple[pd.DataFrame, int]:
    """One frame from the chunks of a file.

    Args:
        chunks: Frames of consecutive rows; tokens and sequences as text, floats as float64.
        kinds: Column name to its kind.
        n_rows: Rows that the chunks have together.

    Returns:
        The frame, token columns as categoricals of ``str`` in the order of their first appearance;
        and the number of rows seen. If that is not ``n_rows``, the frame is not whole.
    """
    tokens = {name: _TokenColumn(n_rows) for name, kind in kinds.items() if kind == "token"}
    others: dict[str, Array] = {
        name: np.empty(n_rows, dtype=np.float64 if kind == "float" else object)
        for name, kind in kinds.items()
        if kind != "token"
    }
    begin = 0
    for chunk in chunks:
        end = begin + len(chunk)
        if end > n_rows:
            begin = end
            break
        for name in kinds:
            values = chunk[name].to_numpy()
            if name in tokens:
                tokens[name].fill(begin, values)
            else:
                others[name][begin:end] = values
        begin = end
    columns = {
        name: pd.Series(tokens[name].categorical()) if name in tokens else others[name]
        for name in kinds
    }
    return pd.DataFrame(columns, copy=False), begin


class _TokenColumn:
    """A token column as it is read: 4 bytes a row, and each token once."""

    def __init__(self, n_rows: int) -> None:
        self._codes = np.zeros(n_rows, dtype=np.int32)
        self._numbers: dict[str, int] = {}

    def fill(self, begin: int, values: Array) -> None:
        """Take in the rows from ``begin`` on."""
        codes, names = pd.factorize(values)
        numbers = _numbers_of(names, self._numbers, first=0)
        self._codes[begin : begin + len(values)] = numbers[codes]

    def categorical(self) -> pd.Categorical:
        """The column, once all rows are in."""
        categories = pd.Index(list(self._numbers), dtype=object)
        return pd.Categorical.from_codes(self._codes, categories=categories)


PADDING = "[PAD]"


def number_tokens(columns: Sequence[Any], known: Array | None = None) -> tuple[list[Array], Array]:
    """Number tokens from 1 on, in the order in which they first appear, column after column.

    Equals RecBole's numbering, ``pd.factorize`` of all columns together, without joining them.

    Args:
        columns: Categoricals or object arrays of ``str``. A missing value gets 0.
        known: Tokens by number that keep their numbers, padding included; others come after them.

    Returns:
        The numbers of each column, int64; and the tokens by number, of which 0 is ``[PAD]``.
    """
    earlier = [] if known is None else known[1:].tolist()
    numbers = {token: number for number, token in enumerate(earlier, start=1)}
    ids = []
    for column in columns:
        codes, names = pd.factorize(column)
        # A missing value has the code -1: the last entry.
        ids.append(np.append(_numbers_of(names, numbers, first=1), 0)[codes])
    return ids, np.array([PADDING, *numbers])


def _numbers_of(names: Iterable[str], numbers: dict[str, int], *, first: int) -> Array:
    """Numbers of the names; those seen for the first time get the next ones, from ``first`` on."""
    return np.array(
        [numbers.setdefault(name, len(numbers) + first) for name in names], dtype=np.int64
    )


class TokenNumbers(Mapping[str, int]):
    """Internal ids by token, as RecBole's ``field2token_id`` has them.

    The dictionary takes some 150 bytes a token and few runs ask for one, so it is made when first
    asked.

    Args:
        tokens: Tokens by internal id.
    """

    def __init__(self, tokens: Array) -> None:
        self._tokens = tokens
        self._made: dict[str, int] = {}

    @property
    def _numbers(self) -> dict[str, int]:
        if not self._made:
            self._made = {token: number for number, token in enumerate(self._tokens.tolist())}
        return self._made

    def __getitem__(self, token: str) -> int:
        return self._numbers[token]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
