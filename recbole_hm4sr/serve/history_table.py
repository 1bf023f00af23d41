"""Histories as users give them: a file, a data frame, or lists; read and checked as a whole."""

import dataclasses
import functools
import gzip
import itertools
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.base.text_files import refuse_other_kind
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic
from recbole_hm4sr.data.times import read_times

Array = np.ndarray[Any, Any]
# What one user is in a list: item tokens, and their times.
ListedHistory = tuple[Sequence[str], Sequence[int]]


@dataclass(frozen=True)
class HistoryColumns:
    """Names of the columns of histories, and the unit of their times: s or ms."""

    user: str
    item: str
    time: str
    unit: str


@dataclass(frozen=True)
class RawHistories:
    """Interactions of any users, in the order they were given.

    Attributes:
        users: The users, by their first appearance. Shape ``[U]``, object.
        user: Place in ``users`` of each interaction. Shape ``[N]``, int64.
        items: Raw item tokens. Shape ``[N]``, object of ``str``.
        times: In the columns' unit since the epoch. Shape ``[N]``, int64.
    """

    users: Array
    user: Array
    items: Array
    times: Array


class _Table(AtomicTable):
    """Rows of a data frame or of lists, which have no lines."""

    def place(self, row: int) -> str:
        """Where a row stands."""
        return f"row {int(row)}"


@dataclass(frozen=True)
class _Lists(AtomicTable):
    ends: Array

    def line(self, row: int) -> str:
        """Where a value of the lists stands, for messages."""
        return self.place(row)

    def place(self, row: int) -> str:
        """Where a value of the lists laid end to end stands."""
        history = int(np.searchsorted(self.ends, row, side="right"))
        place = row - (int(self.ends[history - 1]) if history else 0)
        return f"histories[{history}], interaction {place}"


def read_history_file(path: Path, columns: HistoryColumns) -> RawHistories:
    """Read a CSV file (plain or packed), a Parquet or an ``.inter`` file of histories.

    A row with a user and neither item nor time is a user without history.

    Args:
        path: The file; ``.parquet`` and ``.inter`` tell one, all others are CSV. The separator is
            the likeliest sign of its first line.
        columns: Its columns; others are not read.

    Raises:
        DataError: If the file cannot be read, lacks a column, or a row is wrong.
    """
    return _checked(_read_table(path, columns), columns)


def read_interaction_file(
    path: Path, columns: HistoryColumns
) -> tuple[RawHistories, Callable[[int], str]]:
    """Read a file as :func:`read_history_file` does, whose every row is an interaction.

    Args:
        path: The file.
        columns: Its columns.

    Returns:
        The interactions in the order of the file, and what says where one of them stands.

    Raises:
        DataError: If the file cannot be read, lacks a column, or a row is wrong.
    """
    table = _read_table(path, columns)
    raw = _checked(table, columns)
    if len(raw.items) < len(table.frame):
        row = int(np.argmax(table.frame[columns.item].to_numpy(dtype=object) == ""))
        raise DataError(f"{table.line(row)}: {columns.item} must not be empty")
    return raw, table.line


def _read_table(path: Path, columns: HistoryColumns) -> AtomicTable:
    if not path.is_file():
        raise DataError(f"the file {path} does not exist")
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix == ".inter":
        return read_atomic(path, [columns.user, columns.item, columns.time])
    return AtomicTable(path, _read_csv(path, columns), {columns.time: "float"})


def number_items(tokens: Array, items: "pd.Index[Any]") -> Array:
    """Numbers of raw tokens as the run counts, from 1; 0 of one that it does not know.

    A token is looked up as it is; if it is not known, without the blanks at its ends, which
    ``hm4sr prepare`` cuts. No-break and other spaces are letters.

    Args:
        tokens: Shape ``[N]``, object of ``str``.
        items: Raw tokens of the numbers 1, 2, ...
    """
    numbers = items.get_indexer(tokens) + 1
    unknown = np.flatnonzero(numbers == 0)
    cut = np.array([token.strip(ASCII_BLANKS) for token in tokens[unknown]], dtype=object)
    numbers[unknown] = items.get_indexer(cut) + 1
    return numbers


def histories_from_frame(frame: pd.DataFrame, columns: HistoryColumns) -> RawHistories:
    """Histories of a data frame with a row an interaction, as :func:`read_history_file`.

    Raises:
        DataError: If it lacks a column, or a row is wrong.
    """
    place = Path("histories")
    _require_columns(place, list(frame.columns), columns)
    numbers = pd.to_numeric(frame[columns.time], errors="coerce")
    broken = numbers.isna() & frame[columns.time].notna() & (frame[columns.time] != "")
    if broken.any():
        row = int(np.flatnonzero(broken.to_numpy())[0])
        raise DataError(
            f"{place}, row {row}: {columns.time} must be a number, got "
            f"{frame[columns.time].iloc[row]!r}"
        )
    table = _Table(place, frame, {columns.time: "float"})
    texts = {name: _as_texts(frame[name], table) for name in (columns.user, columns.item)}
    whole = pd.DataFrame({**texts, columns.time: numbers.to_numpy(np.float64)})
    return _checked(dataclasses.replace(table, frame=whole), columns)


def histories_from_lists(histories: Sequence[ListedHistory], unit: str) -> RawHistories:
    """Histories of lists; the users are the places in the list, from 0.

    Args:
        histories: Item tokens and times of each user, both of the same length; may be empty.
        unit: Of the times.

    Raises:
        DataError: If the two lengths differ, or a value is wrong.
    """
    for number, history in enumerate(histories):
        if isinstance(history, str) or len(history) != 2 or len(history[0]) != len(history[1]):
            raise DataError(
                f"histories[{number}] must be a pair of as many items as times, got "
                f"{repr(history)[:80]}"
            )
    lengths = np.array([len(items) for items, _ in histories], dtype=np.int64)
    given = [list(itertools.chain.from_iterable(it[part] for it in histories)) for part in (0, 1)]
    try:
        times = np.array(given[1], dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"the times of histories must be whole numbers: {error}") from error
    frame = pd.DataFrame({"times": times})
    table = _Lists(Path("histories"), frame, {"times": "float"}, np.cumsum(lengths))
    items = _as_texts(pd.Series(given[0], dtype=object, name="items"), table)
    if (items == "").any():
        raise DataError(f"{table.line(int(np.argmax(items == '')))}: items must not be empty")
    return RawHistories(
        users=np.arange(len(histories)).astype(object),
        user=np.repeat(np.arange(len(histories)), lengths),
        items=items,
        times=read_times(table, "times", unit, is_fixed=True)
        if len(times)
        else times.astype(np.int64),
    )


def _read_csv(path: Path, columns: HistoryColumns) -> pd.DataFrame:
    names = [columns.user, columns.item, columns.time]
    try:
        sign = max(",\t;|", key=_first_line(path).count)
        header = list(pd.read_csv(path, sep=sign, nrows=0, encoding="utf-8-sig"))
        _require_columns(path, header, columns)
        read = functools.partial(
            pd.read_csv,
            path,
            sep=sign,
            encoding="utf-8-sig",
            keep_default_na=False,
            skip_blank_lines=False,
            index_col=False,
        )
        texts = dict.fromkeys(header, object)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
            try:
                dtypes = {**texts, columns.time: np.float64}
                frame = read(dtype=dtypes, na_values={columns.time: [""]})
            except (pd.errors.ParserError, UnicodeDecodeError):
                raise
            except ValueError as error:
                raise _bad_time(path, read(dtype=texts)[columns.time]) from error
    except DataError:
        raise
    except (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path} must be a whole CSV file in UTF-8, got: {' '.join(str(error).split())}"
        ) from error
    blank = (frame[columns.user] == "") & (frame[columns.item] == "") & frame[columns.time].isna()
    places = np.flatnonzero(~blank.to_numpy())
    return frame[names].iloc[: places[-1] + 1 if len(places) else 0]  # no blank lines at the end


def _first_line(path: Path) -> str:
    packed = path.suffix == ".gz"
    with gzip.open(path) if packed else path.open("rb") as file:
        line = file.readline(1 << 20)
    refuse_other_kind(line, str(path), DataError)
    return str(line.decode("utf-8-sig"))


def _bad_time(path: Path, times: "pd.Series[Any]") -> DataError:
    broken = pd.to_numeric(times, errors="coerce").isna() & (times != "")
    row = int(np.flatnonzero(broken.to_numpy())[0]) if broken.any() else 0
    return DataError(
        f"{path}, line {row + 2}: {times.name} must be a number, got {times.iloc[row]!r}"
    )


def _read_parquet(path: Path, columns: HistoryColumns) -> AtomicTable:
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError(
            "Parquet files need duckdb; pip install 'recbole-hm4sr[prepare]', or write CSV"
        ) from error
    try:
        with duckdb.connect() as connection:
            source = connection.read_parquet(str(path))
            _require_columns(path, list(source.columns), columns)
            names = [duckdb.ColumnExpression(n) for n in (columns.user, columns.item, columns.time)]
            frame = source.select(*names).df()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} must be a whole Parquet file, got: {reason}") from error
    if frame[columns.time].dtype.kind not in "iuf":
        kind = frame[columns.time].dtype
        raise DataError(f"{path}: the column {columns.time!r} must hold numbers, got {kind}")
    table = _Table(path, frame, {columns.time: "float"})
    texts = {name: _as_texts(frame[name], table) for name in (columns.user, columns.item)}
    times = frame[columns.time].to_numpy(np.float64)
    return dataclasses.replace(table, frame=pd.DataFrame({**texts, columns.time: times}))


def _require_columns(path: Path, found: Sequence[Any], columns: HistoryColumns) -> None:
    missing = [it for it in (columns.user, columns.item, columns.time) if it not in found]
    if missing:
        raise DataError(
            f"{path} must have the columns {columns.user}, {columns.item} and {columns.time}, got "
            f"{', '.join(map(str, found)) or 'none'}"
        )


def _as_texts(column: "pd.Series[Any]", table: AtomicTable) -> Array:
    """A column of tokens; whole numbers are their digits, missing values are empty."""
    if column.dtype.kind in "iu":
        return column.astype(str).to_numpy(dtype=object)
    values = column.to_numpy(dtype=object)
    values = np.where(pd.isna(values), "", values)
    kind = pd.api.types.infer_dtype(values)
    if kind == "integer":
        return values.astype(str).astype(object)
    if kind not in ("string", "empty"):
        row = next(n for n, value in enumerate(values) if not isinstance(value, str))
        raise DataError(
            f"{table.line(row)}: {column.name} must be a text or a whole number, got "
            f"{values[row]!r}"
        )
    return values


def _checked(table: AtomicTable, columns: HistoryColumns) -> RawHistories:
    """Refuse wrong rows; leave out those that name a user without history."""
    users, items = (table.frame[it].to_numpy(dtype=object) for it in (columns.user, columns.item))
    times = table.frame[columns.time].to_numpy(dtype=np.float64)
    alone = (items == "") & np.isnan(times)
    for name, empty in ((columns.user, users == ""), (columns.item, (items == "") & ~alone)):
        if empty.any():
            row = int(np.flatnonzero(empty)[0])
            raise DataError(f"{table.line(row)}: {name} must not be empty")
    user, names = pd.factorize(users)
    if alone.any():
        # 0 is a legal time of any unit, and keeps the numbers of the rows.
        frame = table.frame.assign(**{columns.time: np.where(alone, 0, times)})
        table = dataclasses.replace(table, frame=frame)
    if len(table.frame):
        whole = read_times(table, columns.time, columns.unit, is_fixed=True)
    else:
        whole = np.zeros(0, dtype=np.int64)
    kept = ~alone
    if kept.all():
        return RawHistories(np.asarray(names, dtype=object), user, items, whole)
    return RawHistories(np.asarray(names, dtype=object), user[kept], items[kept], whole[kept])
