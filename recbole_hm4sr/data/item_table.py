"""Typed columns of the ``.item`` file: what rules on items and titles in answers read.

A column of numbers has one number an item or none. A column of texts has none, one or several
values an item; each distinct value is kept once. A ``token`` column has one value, a ``token_seq``
column one for each of its parts, unless it is text: the title, or one of ``text_fields`` that is
not the ``category_field``. Its parts are words then, and the whole is one value.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic, read_header
from recbole_hm4sr.data.categories import refuse_duplicates
from recbole_hm4sr.data.events import starts_of

Array = np.ndarray[Any, Any]
_PREFIX = "item_table."
_LINE_END = "\n"  # no cell of an atomic file holds one


@dataclass(frozen=True)
class NumberColumn:
    """Numbers.

    Attributes:
        values: NaN where there is none. Shape ``[R]``, float64.
    """

    values: Array

    def filled(self) -> Array:
        """Which rows have a value. Shape ``[R]``, bool."""
        return ~np.isnan(self.values)

    def take(self, rows: Array) -> "NumberColumn":
        """Other rows in their place; -1 is a row without a value."""
        return NumberColumn(np.append(self.values, np.nan)[rows])

    def cells(self, rows: Array) -> Array:
        """Values to show: a float or None each. Shape of ``rows``, object."""
        found = self.values[rows]
        values: Array = found.astype(object)
        values[np.isnan(found)] = None
        return values


@dataclass(frozen=True)
class TextColumn:
    """Texts, any number a row.

    Attributes:
        names: The distinct values, sorted. Shape ``[V]``, object of ``str``.
        codes: Places in ``names``, row after row. Shape ``[N]``, int64.
        starts: First value of each row, and N. Shape ``[R + 1]``, int64.
        is_list: Whether a row can have several.
    """

    names: Array
    codes: Array
    starts: Array
    is_list: bool

    def filled(self) -> Array:
        """Which rows have a value. Shape ``[R]``, bool."""
        return np.diff(self.starts) > 0

    @functools.cached_property
    def _row_of(self) -> Array:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def rows_with(self, chosen: Array) -> Array:
        """Which rows have at least one of some values.

        Args:
            chosen: Which of ``names``. Shape ``[V]``, bool.

        Returns:
            Shape ``[R]``, bool.
        """
        rows = np.zeros(len(self.starts) - 1, dtype=bool)
        rows[self._row_of[chosen[self.codes]]] = True
        return rows

    def take(self, rows: Array) -> "TextColumn":
        """Other rows in their place; -1 is a row without a value."""
        lengths = np.append(np.diff(self.starts), 0)[rows]
        starts = starts_of(lengths)
        firsts = np.repeat(self.starts[rows] - starts[:-1], lengths)
        codes = self.codes[firsts + np.arange(starts[-1])]
        return TextColumn(self.names, codes, starts, self.is_list)

    def cells(self, rows: Array) -> Array:
        """Values to show: a text or None each, of lists a list. Shape of ``rows``, object."""
        found = np.empty(rows.size, dtype=object)
        for place, row in enumerate(rows.ravel().tolist()):
            values = self.names[self.codes[self.starts[row] : self.starts[row + 1]]].tolist()
            found[place] = values if self.is_list else next(iter(values), None)
        return found.reshape(rows.shape)


Column = NumberColumn | TextColumn


@dataclass(frozen=True)
class ItemTable:
    """Columns of items, a row each.

    Attributes:
        tokens: Raw item tokens. Shape ``[R]``, object of ``str``.
        columns: By name.
        title: The column that names an item; None if there is none.
    """

    tokens: Array = field(default_factory=lambda: np.empty(0, dtype=object))
    columns: Mapping[str, Column] = field(default_factory=dict)
    title: str | None = None

    def of_items(self, tokens: Array) -> "ItemTable":
        """The same for some items, in their order; items without a line have no value.

        Args:
            tokens: Raw tokens. Shape ``[I]``, object; None for padding.
        """
        rows = pd.Index(self.tokens).get_indexer(pd.Index(tokens))
        taken = {name: column.take(rows) for name, column in self.columns.items()}
        return ItemTable(tokens, taken, self.title)

    def joined(self, more: "ItemTable") -> "ItemTable":
        """The same with further items behind; items that are there keep what is said of them.

        Args:
            more: Its columns that are not here are left out, and those that it lacks are empty.

        Raises:
            DataError: If a column of numbers here is one of texts there, or the other way round.
        """
        is_new = ~pd.Index(more.tokens).isin(self.tokens)
        tokens = np.concatenate([self.tokens, more.tokens[is_new]])
        rows, nothing = np.flatnonzero(is_new), np.full(int(is_new.sum()), -1)
        columns = {}
        for name, column in self.columns.items():
            there = more.columns.get(name)
            if there is not None and isinstance(there, NumberColumn) != isinstance(
                column, NumberColumn
            ):
                raise DataError(
                    f"the column {name!r} of new items must be of "
                    f"{'numbers' if isinstance(column, NumberColumn) else 'texts'}, as that of the "
                    f"first ones"
                )
            last = column.take(nothing) if there is None else there.take(rows)
            columns[name] = _behind(column, last)
        return ItemTable(tokens, columns, self.title)

    def to_arrays(self) -> dict[str, Array]:
        """As an ``.npz`` file holds it."""
        kinds = [(name, _kind_of(column)) for name, column in self.columns.items()]
        arrays = {
            "tokens": _as_bytes(self.tokens),
            "kinds": np.array(kinds, dtype=np.str_).reshape(-1, 2),
            "title": np.array(self.title or ""),
        }
        for number, column in enumerate(self.columns.values()):
            if isinstance(column, NumberColumn):
                arrays[f"{number}.values"] = column.values
            else:
                arrays[f"{number}.names"] = _as_bytes(column.names)
                arrays[f"{number}.codes"] = column.codes.astype(np.int32)
                arrays[f"{number}.starts"] = column.starts
        return {_PREFIX + name: values for name, values in arrays.items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> "ItemTable | None":
        """What an ``.npz`` file holds of it; None for one that was written without."""
        if f"{_PREFIX}tokens" not in arrays:
            return None
        columns: dict[str, Column] = {}
        for number, (name, kind) in enumerate(arrays[f"{_PREFIX}kinds"].tolist()):
            of_column = f"{_PREFIX}{number}."
            if kind == "number":
                columns[name] = NumberColumn(arrays[f"{of_column}values"])
                continue
            columns[name] = TextColumn(
                _as_texts(arrays[f"{of_column}names"]),
                arrays[f"{of_column}codes"].astype(np.int64),
                arrays[f"{of_column}starts"],
                kind == "list",
            )
        tokens, title = arrays[f"{_PREFIX}tokens"], str(arrays[f"{_PREFIX}title"]) or None
        return cls(_as_texts(tokens), columns, title)


def read_item_table(path: Path, *, item_field: str, settings: DataSettings) -> ItemTable:
    """The columns that ``serve_columns`` names, of all lines of an ``.item`` file.

    Args:
        path: The file; none gives a table without columns.
        item_field: Its column of item tokens.
        settings: Of the data set. A column that the file does not have is left out, and so are
            features (``float_seq``).

    Raises:
        DataError: If the file breaks the contract.
    """
    if not path.is_file():
        return ItemTable()
    kinds = dict(read_header(path))
    usable = {name for name, kind in kinds.items() if kind != "float_seq" and name != item_field}
    names = [name for name in settings.serve_columns if name in usable]
    if not names:
        return ItemTable()
    table = read_atomic(path, [item_field, *names])
    refuse_duplicates(table, item_field)
    title = title_column(kinds, settings.text_fields, settings.category_field)
    words = {title, *settings.text_fields} - {settings.category_field}
    columns = {name: _read_column(table, name, is_text=name in words) for name in names}
    return ItemTable(table.tokens(item_field), columns, title if title in columns else None)


def title_column(
    kinds: Mapping[str, str], text_fields: Collection[str], category_field: str | None
) -> str | None:
    """The column of an ``.item`` file that names an item: a title, a name, or its first text.

    Args:
        kinds: Column to its kind.
        text_fields: Setting of that name.
        category_field: Setting of that name.

    Returns:
        Its name; None if there is none.
    """
    texts = [
        name
        for name, kind in kinds.items()
        if kind in ("token", "token_seq") and name != category_field
    ]
    for word in ("title", "name"):
        for name in (word, *texts):
            if name in texts and word in name.lower():
                return name
    return next((name for name in text_fields if name in texts), None)


def _read_column(table: AtomicTable, name: str, *, is_text: bool) -> Column:
    kind = table.kinds[name]
    if kind == "float":
        values = table.frame[name].to_numpy(dtype=np.float64)
        return NumberColumn(np.where(np.isfinite(values), values, np.nan))
    if kind == "token_seq" and not is_text:
        return _text_column([list(dict.fromkeys(row)) for row in table.sequences(name)], True)
    texts = [" ".join(str(text).split()) for text in table.frame[name]]
    return _text_column([[text] if text else [] for text in texts], False)


def _text_column(rows: Sequence[Sequence[str]], is_list: bool) -> TextColumn:  # noqa: FBT001
    values = np.array([value for row in rows for value in row], dtype=object)
    codes, names = pd.factorize(values, sort=True)
    starts = starts_of(np.array([len(row) for row in rows], dtype=np.int64))
    return TextColumn(np.asarray(names, dtype=object), codes.astype(np.int64), starts, is_list)


def _behind(first: Column, last: Column) -> Column:
    """The rows of two columns of one kind."""
    if isinstance(first, NumberColumn) and isinstance(last, NumberColumn):
        return NumberColumn(np.concatenate([first.values, last.values]))
    assert isinstance(first, TextColumn)
    assert isinstance(last, TextColumn)
    values = np.concatenate([first.names[first.codes], last.names[last.codes]])
    codes, names = pd.factorize(values, sort=True)
    starts = np.concatenate([first.starts, last.starts[1:] + first.starts[-1]])
    return TextColumn(
        np.asarray(names, dtype=object), codes.astype(np.int64), starts, first.is_list
    )


def _kind_of(column: Column) -> str:
    if isinstance(column, NumberColumn):
        return "number"
    return "list" if column.is_list else "text"


def _as_bytes(texts: Array) -> Array:
    """Texts without line ends as one array: a column as wide as its longest would be large."""
    return np.frombuffer(_LINE_END.join(texts.tolist()).encode(), dtype=np.uint8)


def _as_texts(letters: Array) -> Array:
    text = letters.tobytes().decode()
    return np.array(text.split(_LINE_END) if text else [], dtype=object)
