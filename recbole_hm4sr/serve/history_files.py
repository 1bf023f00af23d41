"""Tables of histories as their files have them: CSV, plain or packed, and Parquet."""

import contextlib
import dataclasses
import functools
import gzip
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.text_files import refuse_other_kind
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.prepare.raw.csv_rows import BAD, CsvRows, not_encoded
from recbole_hm4sr.serve.history_columns import UTF8, HistoryColumns

_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class ReadFile:
    """What could be read of a file.

    Attributes:
        frame: A row an interaction; users and items as texts, empty where there is none; times as
            numbers, or texts if one is no number; events, if there are. Rows of a text are indexed
            by their line, from 0 for the one behind the header.
        written: How the file is written.
        unread: Lines that are no rows, from 1, and why.
    """

    frame: pd.DataFrame
    written: InteractionColumns
    unread: tuple[tuple[int, str], ...] = ()


def read_csv(path: Path, columns: HistoryColumns) -> ReadFile:
    """The rows of a CSV file, blank ones at the end apart.

    Where a line is no row, all lines are read one by one, which takes longer.

    Args:
        path: The file. The separator is the likeliest sign of its first line.
        columns: How it may be written.

    Raises:
        DataError: If it cannot be read, or lacks a column.
    """
    encodings = columns.encodings
    for encoding in encodings:
        try:
            return _read_encoded(path, columns, encoding)
        except UnicodeDecodeError as error:
            if encoding == encodings[-1]:
                return _by_line(path, columns, encodings[0], error)
        except DataError:
            raise
        except (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
            return _by_line(path, columns, encoding, error)
    raise AssertionError(encodings)


def _by_line(path: Path, columns: HistoryColumns, encoding: str, error: Exception) -> ReadFile:
    """What can be read of a file of which some lines are no rows.

    Raises:
        DataError: If no line is found to be to blame for the error.
    """
    if isinstance(error, (OSError, EOFError, zlib.error)):
        raise _no_csv(path, encoding, error) from error
    rows = CsvRows(path, "utf-8" if encoding == UTF8 else encoding)
    if any(BAD in name for name in rows.header):
        raise _no_csv(path, encoding, error) from error
    written = columns.require(path, rows.header)
    events = [] if written.event not in rows.header else [written.event]
    frame, unread = _good_lines(rows, [*written.names, *events])
    no_text = sum(reason == not_encoded(rows.encoding) for _, reason in unread)
    if not unread or 2 * no_text > rows.n_rows:
        raise _no_csv(path, encoding, error) from error
    with contextlib.suppress(ValueError):  # dates, or no times
        numbers = frame[written.time].replace("", np.nan).to_numpy(dtype=np.float64)
        frame = frame.assign(**{written.time: numbers})
    return ReadFile(frame, written, tuple(unread))


def _good_lines(rows: CsvRows, names: list[str]) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Some columns of the lines that are rows; and the lines that are none, and why."""
    places = {name: rows.header.index(name) for name in names}
    lines: list[int] = []
    cells: dict[str, list[Any]] = {name: [] for name in places}
    unread = []
    for line, row in rows.rows(set(places.values())):
        if isinstance(row, str):
            unread.append((line, row))
            continue
        lines.append(line)
        for name, place in places.items():
            cells[name].append(row[place])
    index = np.array(lines, dtype=np.int64) - 2
    return pd.DataFrame(cells, index=index, dtype=object), unread


def _no_csv(path: Path, encoding: str, error: Exception) -> DataError:
    code = "UTF-8" if encoding == UTF8 else encoding
    return DataError(
        f"{path} must be a whole CSV file in {code}, got: {' '.join(str(error).split())}"
    )


def _read_encoded(path: Path, columns: HistoryColumns, encoding: str) -> ReadFile:
    sign = max(",\t;|", key=_first_line(path, encoding).count)
    header = list(pd.read_csv(path, sep=sign, nrows=0, encoding=encoding))
    written = columns.require(path, header)
    read = functools.partial(
        pd.read_csv,
        path,
        sep=sign,
        encoding=encoding,
        keep_default_na=False,
        skip_blank_lines=False,
        index_col=False,
    )
    texts = dict.fromkeys(header, object)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
        try:
            numbers = {**texts, written.time: np.float64}
            frame = read(dtype=numbers, na_values={written.time: [""]})
        except (pd.errors.ParserError, UnicodeDecodeError):
            raise
        except ValueError:  # dates, or no times
            frame = read(dtype=texts)
    events = [] if written.event not in header else [written.event]
    frame = frame[[*written.names, *events]]
    blank = (frame[[written.user, written.item]] == "").all(axis=1)
    blank &= frame[written.time].isna() | (frame[written.time] == "")
    places = np.flatnonzero(~blank.to_numpy())
    # No blank lines at the end.
    return ReadFile(frame.iloc[: places[-1] + 1 if len(places) else 0], written)


def _first_line(path: Path, encoding: str) -> str:
    packed = path.suffix == ".gz"
    if encoding == UTF8:
        with gzip.open(path) if packed else path.open("rb") as file:
            refuse_other_kind(file.readline(_LONGEST_LINE), str(path), DataError)
    with (
        gzip.open(path, "rt", encoding=encoding) if packed else path.open(encoding=encoding)
    ) as text:
        return str(text.readline(_LONGEST_LINE))


def read_parquet(path: Path, columns: HistoryColumns) -> ReadFile:
    """The rows of a Parquet file.

    Args:
        path: The file.
        columns: How it may be written.

    Returns:
        As :func:`read_csv`; moments are microseconds, which ``written`` says then.

    Raises:
        ConfigError: If DuckDB is missing.
        DataError: If the file cannot be read, or lacks a column.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError(
            "Parquet files need duckdb; pip install 'recbole-hm4sr[prepare]', or write CSV"
        ) from error
    try:
        with duckdb.connect() as connection:
            source = connection.read_parquet(str(path))
            names = list(source.columns)
            written = columns.require(path, names)
            kinds = dict(zip(names, map(str, source.types), strict=True))
            events = [] if written.event not in names else [written.event]
            cells = [duckdb.ColumnExpression(n) for n in (*written.names, *events)]
            if kinds[written.time].startswith(("TIMESTAMP", "DATE")):
                zone = "TZ" if "ZONE" in kinds[written.time] else ""
                moment = cells[2].cast(f"TIMESTAMP{zone}")
                cells[2] = duckdb.FunctionExpression("epoch_us", moment).alias(written.time)
                written = dataclasses.replace(written, unit="us")
            frame = source.select(*cells).df()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} must be a whole Parquet file, got: {reason}") from error
    if frame[written.time].dtype.kind == "b":
        raise DataError(f"{path}: the column {written.time!r} must hold numbers or dates, got bool")
    return ReadFile(frame, written)
