"""Histories as users give them: a file, a data frame, or lists; read and checked as a whole."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.data.times import are_of_another_unit, broken_times, read_times
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_faults import Faults
from recbole_hm4sr.serve.history_files import read_csv, read_parquet
from recbole_hm4sr.serve.history_times import in_unit, time_rule

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
        return f"row {int(self.frame.index[row])}"


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
class _Read:
    """Rows that were given, and what is known to be wrong with them.

    Attributes:
        table: Users and items as texts, empty where there is none; times as numbers of the run's
            unit, NaN where there is none.
        written: What its columns are called.
        given_times: As they are written. Shape ``[N]``.
        bad_times: Which of these are no times. Shape ``[N]``, bool.
        unread: Lines that are no rows, from 1, and why.
        of_file: Whether they are of a file.
    """

    table: AtomicTable
    written: InteractionColumns
    given_times: "pd.Series[Any]"
    bad_times: Array
    unread: tuple[tuple[int, str], ...] = ()
    of_file: bool = True


def read_history_file(
    path: Path, columns: HistoryColumns, *, skip_bad: bool = False
) -> RawHistories:
    """Read a CSV file (plain or packed), a Parquet or an ``.inter`` file of histories.

    A row with a user and neither item nor time is a user without history. Rows of events that are
    not kept are left out, and counted in the log.

    Args:
        path: The file; ``.parquet`` and ``.inter`` tell one, all others are CSV. The separator is
            the likeliest sign of its first line.
        columns: Its columns; others are not read.
        skip_bad: Leave wrong rows out; the log says how many, and why.

    Raises:
        DataError: If the file cannot be read, lacks a column, or rows are wrong and may not be left
            out; or if most rows are wrong.
    """
    return _checked(_read_table(path, columns), columns, skip_bad=skip_bad)[0]


def read_interaction_file(
    path: Path, columns: HistoryColumns, *, skip_bad: bool = False
) -> tuple[RawHistories, AtomicTable]:
    """Read a file as :func:`read_history_file` does, whose every row is an interaction.

    Args:
        path: The file.
        columns: Its columns.
        skip_bad: As :func:`read_history_file` takes it.

    Returns:
        The interactions in the order of the file, and their rows, which say where they stand.

    Raises:
        DataError: As :func:`read_history_file` does.
    """
    read = _read_table(path, columns)
    return _checked(read, columns, skip_bad=skip_bad, are_interactions=True)


def _read_table(path: Path, columns: HistoryColumns) -> _Read:
    """The rows of a file with their times in the run's unit."""
    if not path.is_file():
        raise DataError(f"the file {path} does not exist")
    if path.suffix == ".inter":
        table, own = read_atomic(path, [*columns.own.names]), columns.own
        return _Read(table, own, table.frame[own.time], np.zeros(len(table.frame), dtype=bool))
    is_parquet = path.suffix == ".parquet"
    found = (read_parquet if is_parquet else read_csv)(path, columns)
    table = (_Table if is_parquet else AtomicTable)(path, found.frame, {})
    read = _typed(table, found.written, columns.unit)
    return dataclasses.replace(read, unread=found.unread)


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
    read = _typed(table, written, columns.unit)
    return _checked(dataclasses.replace(read, of_file=False), columns)[0]


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
    form, column = InteractionColumns(unit=unit, time="times"), pd.Series(given[1], name="times")
    times, are_bad = in_unit(column, unit, form)
    table = dataclasses.replace(table, frame=pd.DataFrame({"times": times}))
    faults = Faults(table, of_file=False)
    _note_texts(faults, are_bad, column, form)
    faults.settle(skip_bad=False)
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


def _typed(table: AtomicTable, written: InteractionColumns, unit: str) -> _Read:
    """Tokens as texts, times as numbers of the run's unit; rows of other events left out."""
    table = _kept_events(table, written)
    frame = table.frame
    columns: dict[str, Any] = {
        name: _as_texts(frame[name], table) for name in (written.user, written.item)
    }
    columns[written.time], are_bad = in_unit(frame[written.time], unit, written)
    typed = pd.DataFrame(columns, index=frame.index)
    table = dataclasses.replace(table, frame=typed, kinds={written.time: "float"})
    return _Read(table, written, frame[written.time], are_bad)


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
    return dataclasses.replace(table, frame=table.frame[kept])


def _note_texts(
    faults: Faults, flags: Array, given: "pd.Series[Any]", written: InteractionColumns
) -> None:
    """Note times that are neither numbers nor dates."""
    rule = time_rule(written)
    reason = "time is neither a number nor a date"
    if written.time_format is not None:
        reason = f"time is not of the form {written.time_format}"
    faults.add(flags, reason, lambda row: f"{written.time} must be {rule}, got {given.iloc[row]!r}")


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
    read: _Read,
    columns: HistoryColumns,
    *,
    skip_bad: bool = False,
    are_interactions: bool = False,
) -> tuple[RawHistories, AtomicTable]:
    """Refuse wrong rows, or leave them out; also those that name a user without history.

    Args:
        read: The rows.
        columns: How they may be written.
        skip_bad: Whether wrong rows may be left out.
        are_interactions: Whether a user without history is wrong.

    Returns:
        The interactions, and the rows that are kept.
    """
    table, written = read.table, read.written
    users, items = (table.frame[it].to_numpy(dtype=object) for it in (written.user, written.item))
    times = table.frame[written.time].to_numpy(dtype=np.float64)
    alone = (items == "") & np.isnan(times) & ~read.bad_times & (not are_interactions)
    times = np.where(alone, 0, times)  # a legal time of any unit
    faults = _faults_of(read, users, items == "", times, alone, columns.unit, skip_bad=skip_bad)
    kept = faults.settle(skip_bad=skip_bad)
    frame = table.frame.assign(**{written.time: times})[kept]
    table = dataclasses.replace(table, frame=frame)
    if len(frame):
        whole = read_times(table, written.time, columns.unit, is_fixed=True)
    else:
        whole = np.zeros(0, dtype=np.int64)
    user, names = pd.factorize(users[kept])
    stays = ~alone[kept]
    raw = RawHistories(
        np.asarray(names, dtype=object), user[stays], items[kept][stays], whole[stays]
    )
    return raw, table


def _faults_of(
    read: _Read,
    users: Array,
    without_item: Array,
    times: Array,
    alone: Array,
    unit: str,
    *,
    skip_bad: bool,
) -> Faults:
    """The rows that cannot be used."""
    written, faults = read.written, Faults(read.table, read.unread, of_file=read.of_file)
    faults.add(users == "", "no user", lambda _: f"{written.user} must not be empty")
    faults.add(without_item & ~alone, "no item", lambda _: f"{written.item} must not be empty")
    _note_texts(faults, read.bad_times, read.given_times, written)
    for flags, reason, rule in broken_times(times, unit, is_fixed=True):
        faults.add(flags, reason, partial(_broken, written.time, times, rule))
    if skip_bad:  # else the whole column is judged, which gives better advice
        another = are_of_another_unit(times, unit)
        faults.add(another, f"time is not in {unit}", lambda _: f"{written.time} is not in {unit}")
    return faults


def _broken(time: str, times: Array, rule: Callable[[float], str], row: int) -> str:
    return f"{time} must be {rule(times[row])}, got {times[row]:.15g}"
