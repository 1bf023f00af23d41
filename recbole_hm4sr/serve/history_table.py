"""Histories as users give them: a file, a data frame, or lists; read and checked as a whole."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.data.times import read_times
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_files import read_csv, read_parquet
from recbole_hm4sr.serve.history_times import BadTimeError, in_unit

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# What one user is in a list: item tokens, and their times.
ListedHistory = tuple[Sequence[str], Sequence[int]]


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


@dataclass(frozen=True)
class _Part(AtomicTable):
    """Some rows of a table."""

    whole: AtomicTable
    rows: Array

    def line(self, row: int) -> str:
        """Where a row stands in the whole."""
        return self.whole.line(int(self.rows[row]))


def read_history_file(path: Path, columns: HistoryColumns) -> RawHistories:
    """Read a CSV file (plain or packed), a Parquet or an ``.inter`` file of histories.

    A row with a user and neither item nor time is a user without history. Rows of events that are
    not kept are left out, and counted in the log.

    Args:
        path: The file; ``.parquet`` and ``.inter`` tell one, all others are CSV. The separator is
            the likeliest sign of its first line.
        columns: Its columns; others are not read.

    Raises:
        DataError: If the file cannot be read, lacks a column, or a row is wrong.
    """
    return _checked(*_read_table(path, columns), columns)


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
    table, written = _read_table(path, columns)
    raw = _checked(table, written, columns)
    if len(raw.items) < len(table.frame):
        row = int(np.argmax(table.frame[written.item].to_numpy(dtype=object) == ""))
        raise DataError(f"{table.line(row)}: {written.item} must not be empty")
    return raw, table.line


def _read_table(path: Path, columns: HistoryColumns) -> tuple[AtomicTable, InteractionColumns]:
    """The rows of a file with their times in the run's unit, and what their columns are called."""
    if not path.is_file():
        raise DataError(f"the file {path} does not exist")
    if path.suffix == ".inter":
        return read_atomic(path, [*columns.own.names]), columns.own
    if path.suffix == ".parquet":
        frame, written = read_parquet(path, columns)
        return _typed(_Table(path, frame, {}), written, columns.unit), written
    frame, written = read_csv(path, columns)
    return _typed(AtomicTable(path, frame, {}), written, columns.unit), written


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
    written = columns.require(place, [*frame.columns])
    events = [] if written.event not in frame.columns else [written.event]
    table = _Table(place, frame[[*written.names, *events]].reset_index(drop=True), {})
    return _checked(_typed(table, written, columns.unit), written, columns)


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
    table = _Lists(Path("histories"), pd.DataFrame(), {"times": "float"}, np.cumsum(lengths))
    times = _times(table, pd.Series(given[1], name="times"), unit, InteractionColumns(unit=unit))
    table = dataclasses.replace(table, frame=pd.DataFrame({"times": times}))
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


def _typed(table: AtomicTable, written: InteractionColumns, unit: str) -> AtomicTable:
    """Tokens as texts, times as numbers of the run's unit; rows of other events left out."""
    table = _kept_events(table, written)
    frame = table.frame
    columns: dict[str, Any] = {
        name: _as_texts(frame[name], table) for name in (written.user, written.item)
    }
    columns[written.time] = _times(table, frame[written.time], unit, written)
    return dataclasses.replace(table, frame=pd.DataFrame(columns), kinds={written.time: "float"})


def _kept_events(table: AtomicTable, written: InteractionColumns) -> AtomicTable:
    if written.event not in table.frame.columns:
        return table
    kept = table.frame[written.event].astype(str).isin(written.keep_events).to_numpy()
    if kept.all():
        return table
    named = ", ".join(written.keep_events)
    logger.info(
        "%s: %d of %d rows are left out, since %s is not %s",
        table.path, (~kept).sum(), len(kept), written.event, named,
    )  # fmt: skip
    return _Part(table.path, table.frame[kept], table.kinds, table, np.flatnonzero(kept))


def _times(
    table: AtomicTable, column: "pd.Series[Any]", unit: str, written: InteractionColumns
) -> Array:
    try:
        return in_unit(column, unit, written)
    except BadTimeError as error:
        raise DataError(
            f"{table.line(error.row)}: {column.name} must be {error.rule}, got "
            f"{column.iloc[error.row]!r}"
        ) from error


def _as_texts(column: "pd.Series[Any]", table: AtomicTable) -> Array:
    """A column of tokens; whole numbers are their digits, missing values are empty."""
    if column.dtype.kind in "iu":
        return np.where(column.isna(), "", column.astype(str).to_numpy(dtype=object))
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


def _checked(
    table: AtomicTable, written: InteractionColumns, columns: HistoryColumns
) -> RawHistories:
    """Refuse wrong rows; leave out those that name a user without history."""
    users, items = (table.frame[it].to_numpy(dtype=object) for it in (written.user, written.item))
    times = table.frame[written.time].to_numpy(dtype=np.float64)
    alone = (items == "") & np.isnan(times)
    for name, empty in ((written.user, users == ""), (written.item, (items == "") & ~alone)):
        if empty.any():
            row = int(np.flatnonzero(empty)[0])
            raise DataError(f"{table.line(row)}: {name} must not be empty")
    user, names = pd.factorize(users)
    if alone.any():
        # 0 is a legal time of any unit, and keeps the numbers of the rows.
        frame = table.frame.assign(**{written.time: np.where(alone, 0, times)})
        table = dataclasses.replace(table, frame=frame)
    if len(table.frame):
        whole = read_times(table, written.time, columns.unit, is_fixed=True)
    else:
        whole = np.zeros(0, dtype=np.int64)
    kept = ~alone
    if kept.all():
        return RawHistories(np.asarray(names, dtype=object), user, items, whole)
    return RawHistories(np.asarray(names, dtype=object), user[kept], items[kept], whole[kept])
