"""Read RecBole's atomic files, and say exactly what is wrong with a bad one.

An atomic file is UTF-8 text: a header of ``name:kind`` columns, then one row a line, columns
separated by tabs. Kinds are ``token``, ``float``, ``token_seq`` and ``float_seq``; the parts of a
sequence are separated by spaces. Unlike RecBole's reader, a quotation mark is a letter like any
other (there, a lone one swallows the rows up to the next), ``NA`` is a name like any other, and a
row with too few columns is an error.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.text_files import refuse_other_kind
from recbole_hm4sr.data.columns import count_regular_lines, gather_columns, read_blocks

KINDS = ("token", "float", "token_seq", "float_seq")
_ROWS_AT_A_TIME = 500_000
_BYTES_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class AtomicTable:
    """The columns of one atomic file that were asked for.

    Attributes:
        path: The file.
        frame: One row a line; tokens as categoricals, sequences as text, floats as float64.
        kinds: Column name to its kind.
    """

    path: Path
    frame: pd.DataFrame
    kinds: dict[str, str]

    def where(self, flags: "np.ndarray[Any, Any]") -> "AtomicTable":
        """Some of the rows. Flags of shape ``[N]``, bool."""
        return AtomicTable(self.path, self.frame[flags], self.kinds)

    def line(self, row: int) -> str:
        """Where a row of the frame stands, for messages."""
        return f"{self.path}, {self.place(row)}"

    def place(self, row: int) -> str:
        """Where in the file a row of the frame stands."""
        return f"line {int(self.frame.index[row]) + 2}"

    def tokens(self, column: str) -> "np.ndarray[Any, Any]":
        """The values of a token column as an object array of ``str``.

        Raises:
            DataError: If the column is of another kind, or a value is empty.
        """
        return np.asarray(self.token_column(column), dtype=object)

    def token_column(self, column: str) -> pd.Categorical:
        """The values of a token column, each token kept once: for columns of many rows.

        Raises:
            DataError: If the column is of another kind, or a value is empty.
        """
        self.require_kind(column, "token")
        values: Any = self.frame[column].array
        if "" in values.categories:
            empty = np.flatnonzero(values.codes == values.categories.get_loc(""))
            raise DataError(
                f"{self.line(empty[0])}: {column} must not be empty; fill in or remove "
                f"{count_of(empty.size, 'such line')}"
            )
        return values

    def sequences(self, column: str) -> list[list[str]]:
        """The parts of a sequence column, one list a row; a token is one part.

        Raises:
            DataError: If the column holds single numbers.
        """
        self.require_kind(column, "token_seq", "float_seq", "token")
        if self.kinds[column] == "token":
            return [[text] if text else [] for text in self.frame[column]]
        return [[part for part in text.split(" ") if part] for text in self.frame[column]]

    def float_sequences(self, column: str) -> "Iterator[np.ndarray[Any, Any]]":
        """The numbers of a float_seq column, one float64 array a row.

        Raises:
            DataError: If the column is of another kind, or a part is not a number.
        """
        self.require_kind(column, "float_seq")
        for row, parts in enumerate(self.sequences(column)):
            try:
                yield np.array(parts, dtype=np.float64)
            except ValueError as error:
                raise DataError(
                    f"{self.line(row)}: {column} must hold numbers separated by spaces, got "
                    f"{_shorten(self.frame[column].iloc[row])}"
                ) from error

    def require_finite(self, column: str) -> None:
        """Check a float or float_seq column whose gaps RecBole fills with the column's mean.

        Raises:
            DataError: If a value is infinite, a part of a sequence NaN, or a column all gaps.
        """
        if self.kinds[column] == "float":
            values = self.frame[column].to_numpy(dtype=np.float64)
            bad = np.isinf(values)
            if np.isnan(values).all():
                raise DataError(
                    f"{self.path}: {column} must hold a number in at least one line; leave the "
                    f"column out of load_col"
                )
        else:
            bad = np.array([not np.isfinite(row).all() for row in self.float_sequences(column)])
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            shown = _shorten(str(self.frame[column].iloc[row]))
            raise DataError(
                f"{self.line(row)}: {column} must be finite, got {shown} "
                f"({count_of(int(bad.sum()), 'such line')})"
            )

    def require_kind(self, column: str, *kinds: str) -> None:
        """Refuse a column that is of none of some kinds.

        Raises:
            DataError: If it is of another.
        """
        if self.kinds[column] not in kinds:
            raise DataError(
                f"{self.path}, line 1: the column {column!r} must be {' or '.join(kinds)}, got "
                f"{self.kinds[column]}"
            )


def read_header(path: Path) -> tuple[tuple[str, str], ...]:
    """The ``(name, kind)`` pairs of an atomic file's first line.

    Raises:
        DataError: If the file is missing, empty, not UTF-8, or its first line is not a header.
    """
    fields = _first_line(path).split("\t")
    columns = [field.rpartition(":")[::2] for field in fields]
    for field, (name, kind) in zip(fields, columns, strict=True):
        if not _is_column(name, kind) or (len(fields) == 1 and "," in field):
            commas = "; this line has commas" if "," in field else ""
            raise DataError(
                f"{path}, line 1 must be a header of name:kind fields separated by tabs, kind one "
                f"of {', '.join(KINDS)}, got {field!r}{commas}"
            )
    names = [name for name, _ in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1 must name a column once, got {', '.join(twice)} twice")
    return tuple(columns)


def _is_column(name: str, kind: str) -> bool:
    """A name that is no line of text would break the sentences that name it."""
    return name != "" and name.isprintable() and kind in KINDS


def _first_line(path: Path) -> str:
    """The text of a file's first line, which must have one."""
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 20)
    except FileNotFoundError as error:
        raise DataError(f"the file {path} does not exist") from error
    except OSError as error:
        raise DataError(f"cannot read the file {path}: {error.strerror}") from error
    refuse_other_kind(first, str(path), DataError)
    if not first.strip():
        raise DataError(f"{path} must start with a header such as user_id:token, got an empty file")
    try:
        return first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, 1, first) from error


def require_columns(path: Path, kinds: Mapping[str, str], columns: Sequence[str]) -> None:
    """Refuse a file whose header lacks a column.

    Raises:
        DataError: If it does.
    """
    missing = [name for name in columns if name not in kinds]
    if missing:
        raise DataError(
            f"{path}, line 1 must have the column {missing[0]!r}, got {', '.join(kinds)}"
        )


def read_atomic(path: Path, columns: Sequence[str] | None = None) -> AtomicTable:
    """Read columns of an atomic file.

    Args:
        path: The file.
        columns: Names of the columns to read; None reads all.

    Raises:
        DataError: If the file is missing, empty, not UTF-8, lacks a column, or has a line with the
            wrong number of columns or a float that is not a number ("" and "nan" are missing
            values).
    """
    header = read_header(path)
    kinds = dict(header)
    wanted = [name for name in kinds if columns is None or name in columns]
    require_columns(path, kinds, columns or ())
    n_rows, windows = _scan(path, len(header))
    floats = [name for name in wanted if kinds[name] == "float"]
    options: dict[str, Any] = {
        "sep": "\t",
        "header": None,
        "skiprows": 1,
        "names": list(kinds),
        "usecols": wanted,
        "quoting": csv.QUOTE_NONE,
        "keep_default_na": False,
        "encoding": "utf-8",
        # A carriage return inside a title is no line end.
        "lineterminator": "\n",
        "chunksize": _ROWS_AT_A_TIME,
        "low_memory": False,
    }
    kinds = {name: kinds[name] for name in wanted}
    texts = dict.fromkeys(wanted, object)
    numbers = {
        "dtype": texts | dict.fromkeys(floats, np.float64),
        "na_values": {name: ["", "nan", "NaN", "NAN"] for name in floats},
    }
    try:
        with pd.read_csv(_source(path, windows), **numbers, **options) as chunks:
            frame, n_read = gather_columns(chunks, kinds, n_rows)
    except UnicodeDecodeError as error:
        raise _locate_bad_encoding(path) from error
    except ValueError as error:
        raise _why_not_read(path, windows, {**options, "dtype": texts}, floats) from error
    if n_read != n_rows:
        raise DataError(f"{path} must have one row a line, got {n_rows} lines and {n_read} rows")
    return AtomicTable(path, frame, kinds)


def _why_not_read(
    path: Path, windows: Any, options: Mapping[str, Any], floats: Sequence[str]
) -> DataError:
    """What pandas could not read, found by reading every column as text."""
    try:
        with pd.read_csv(_source(path, windows), **options) as chunks:
            return _locate_bad_float(path, chunks, floats)
    except UnicodeDecodeError:  # in a column after that of the bad float
        return _locate_bad_encoding(path)
    except ValueError as error:
        return DataError(f"{path} must be a table, but: {str(error)[:200]!r}")


def parse_float_sequences(table: AtomicTable, column: str) -> "np.ndarray[Any, Any]":
    """A float_seq column in which every row has the same number of values.

    Returns:
        Shape ``[N, F]``, float32.

    Raises:
        DataError: If a value is not a number or the width changes.
    """
    rows: list[np.ndarray[Any, Any]] = []
    for number, row in enumerate(table.float_sequences(column)):
        width = rows[0].size if rows else row.size
        if row.size != width or not width:
            raise DataError(
                f"{table.line(number)}: {column} must hold {width or 'at least 1'} values as "
                f"line 2 does, got {row.size}"
            )
        with np.errstate(over="ignore"):
            rows.append(row.astype(np.float32))
    return np.stack(rows)


def _scan(path: Path, n_columns: int) -> tuple[int, bool]:
    """Check the shape of every line, blank ones at the end apart.

    Returns:
        The number of lines after the header, and whether some end as on Windows.
    """
    n_lines = number = 0
    windows = False
    for block in read_blocks(path, _BYTES_AT_A_TIME):
        windows = windows or b"\r\n" in block
        n_regular = count_regular_lines(block, n_columns) if n_lines == number else 0
        if n_regular:
            n_lines = number = number + n_regular
            continue
        for line in io.BytesIO(block):
            number += 1
            if line in (b"\n", b"\r\n"):
                continue
            if line.count(b"\t") != n_columns - 1 or n_lines != number - 1 or b"\0" in line:
                raise _bad_line(path, n_columns, n_lines + 1)
            n_lines = number
    if n_lines < 2:
        raise DataError(f"{path} must have at least one line after its header, got none")
    return n_lines - 1, windows


def _bad_line(path: Path, n_columns: int, first: int) -> DataError:
    line = next(line for number, line in _lines(path) if number == first)
    if b"\0" in line:
        return DataError(f"{path}, line {first} must be text, got a zero byte")
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    if not text:
        return DataError(f"{path}, line {first} must not be blank; remove it")
    return DataError(
        f"{path}, line {first} must have {n_columns} columns as the header does, got "
        f"{text.count(chr(9)) + 1}: {_shorten(text)}"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from enumerate(file, start=1)


def _source(path: Path, windows: bool) -> "Path | io.BytesIO":  # noqa: FBT001
    """What pandas reads: the file, or its content with Windows line ends made plain."""
    return io.BytesIO(path.read_bytes().replace(b"\r\n", b"\n")) if windows else path


def _locate_bad_encoding(path: Path) -> DataError:
    decoder = codecs.getincrementaldecoder("utf-8")
    for number, line in _lines(path):
        try:
            decoder().decode(line, final=True)
        except UnicodeDecodeError:
            return _not_utf8(path, number, line)
    return DataError(f"{path} must be UTF-8; convert it")


def _not_utf8(path: Path, number: int, line: bytes) -> DataError:
    text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return DataError(f"{path}, line {number} must be UTF-8, got {_shorten(text)}; convert the file")


def _locate_bad_float(
    path: Path, chunks: Iterable[pd.DataFrame], floats: Sequence[str]
) -> DataError:
    for chunk in chunks:
        for name in floats:
            text = chunk[name]
            bad = pd.to_numeric(text, errors="coerce").isna()
            bad &= ~text.str.strip().str.lower().isin(["", "nan"])
            if bad.any():
                row = int(np.flatnonzero(bad.to_numpy())[0])
                line = int(chunk.index[row]) + 2
                return DataError(
                    f"{path}, line {line}: {name} must be a number, got {text.iloc[row]!r}"
                )
    return DataError(f"{path} must hold numbers in {', '.join(floats)}")


def count_of(number: int, thing: str) -> str:
    """A number and what it counts, in words."""
    return f"1 {thing}" if number == 1 else f"{number:,} {thing}s"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
