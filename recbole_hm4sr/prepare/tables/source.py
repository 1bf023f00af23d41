"""A table, CSV or Parquet, as rows of the database; what cannot be read is counted by reason."""

import codecs
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.raw_lines import FileFacts, RawLines, hash_file
from recbole_hm4sr.base.text_files import looks_like
from recbole_hm4sr.prepare.progress import Report
from recbole_hm4sr.prepare.raw.csv_rows import BAD, UTF8, CsvRows, not_encoded
from recbole_hm4sr.prepare.tables.drops import DropCounts
from recbole_hm4sr.prepare.tables.job import Loaded, Source
from recbole_hm4sr.prepare.tables.tables import WorkTables, first_line, quote

PARQUET, CSV = "Parquet", "CSV"
KEYS = ("user", "item")
_PLAIN = (*KEYS, "time")
_BATCH = 1 << 16
_HEAD = 4096  # bytes
_EXACT_FLOAT = 2**53  # above, floats are no longer all whole numbers
_FLOATS = ("FLOAT", "DOUBLE")


def table_form(path: Path, encoding: str = UTF8) -> str:
    """``Parquet`` or ``CSV``.

    Args:
        path: The file.
        encoding: Encoding of its text, as Python names it.

    Raises:
        DataError: If the file is empty, or neither.
    """
    head = next(RawLines(path).pieces(), b"")[:_HEAD]
    if not head:
        raise DataError(f"{path} must be a CSV or Parquet file, got an empty file")
    if head.startswith(b"PAR1"):
        return PARQUET
    if 4 * head.count(b"\0") < len(head):  # a line with a few is a bad line
        head = head.replace(b"\0", b"")
    found = looks_like(head)
    if found is None or (found[0].startswith("UTF-") and codecs.lookup(encoding).name != UTF8):
        return CSV
    kind, advice = found
    if kind.startswith("UTF-"):
        advice += f", or give its encoding, as {kind.split()[0].lower()}, with its flag"
    raise DataError(f"{path} must be a CSV or Parquet file, but is {kind}: {advice}")


def place_of(source: Source, row: int) -> str:
    """Where a row of a table stands, by its column ``row``: a line of a text, or a row."""
    return f"{source.path.name}, {'row' if source.form == PARQUET else 'line'} {row}"


def load_source(
    tables: WorkTables, source: Source, wanted: Mapping[str, str], loaded: Loaded, report: Report
) -> dict[str, str]:
    """Make the table ``source`` of a file's wanted columns, with ``row``, where each row stands.

    Args:
        tables: The database.
        source: The file.
        wanted: Our names of the columns to the file's.
        loaded: Where the file is noted, and what cannot be read is counted.
        report: Told what goes on.

    Returns:
        Our names of the columns to their types.

    Raises:
        DataError: If the file is broken, lacks a column, or most of its lines cannot be read.
    """
    tables.run("DROP TABLE IF EXISTS source")
    if source.form == PARQUET:
        types, facts = _load_parquet(tables, source, wanted)
    else:
        types, facts = _load_csv(tables, source, wanted, loaded.dropped, report)
    loaded.inputs.append(source.record(facts))
    return types


def _load_csv(
    tables: WorkTables,
    source: Source,
    wanted: Mapping[str, str],
    dropped: DropCounts,
    report: Report,
) -> tuple[dict[str, str], FileFacts]:
    rows, size = CsvRows(source.path, source.encoding), source.path.stat().st_size
    if any(BAD in name for name in rows.header):
        raise DataError(
            f"{source.path}, line 1 must be {source.encoding.upper()}; {_encoding_advice(source)}"
        )
    _check_columns(source, wanted, rows.header)
    places = {name: rows.header.index(column) for name, column in wanted.items()}
    columns = ", ".join(f'"{name}" VARCHAR' for name in wanted)
    tables.run(f"CREATE TEMP TABLE source (row BIGINT, {columns})")
    numbers: list[int] = []
    cells: dict[str, list[str]] = {name: [] for name in wanted}

    def flush() -> None:
        report(f"reading {source.path.name}", rows.n_bytes, size)
        batch: dict[str, Any] = {
            name: np.array(column, dtype=object) for name, column in cells.items()
        }
        tables.append("source", {"row": np.array(numbers, dtype=np.int64), **batch})
        for column in (numbers, *cells.values()):
            column.clear()  # type: ignore[attr-defined]

    for number, row in rows.rows({places[name] for name in _PLAIN if name in places}):
        if isinstance(row, str):
            dropped.add(row, place_of(source, number))
            continue
        numbers.append(number)
        for name, place in places.items():
            cells[name].append(row[place])
        if len(numbers) >= _BATCH:
            flush()
    flush()
    refuse_mostly_dropped(source, dropped, rows.n_rows)
    return dict.fromkeys(wanted, "VARCHAR"), rows.facts


def refuse_mostly_dropped(source: Source, dropped: DropCounts, n_rows: int) -> None:
    """Refuse a table of which more than half of the rows are left out.

    Args:
        source: The table.
        dropped: What is left out of it.
        n_rows: Its rows.

    Raises:
        DataError: If so; where lines are not of the encoding, it names the likeliest.
    """
    if 2 * dropped.total <= n_rows:
        return
    no_text = dropped.counts.get(not_encoded(source.encoding), 0)
    advice = "mend it, or give the flags that fit it"
    if 2 * no_text > dropped.total:
        advice = _encoding_advice(source)
    raise DataError(
        f"{source.path} must have more rows that can be used, got {dropped.total:,} of "
        f"{n_rows:,} that cannot: {dropped.sentence()}; {advice}"
    )


def _encoding_advice(source: Source) -> str:
    """What to give as the encoding of a file that has another.

    In Western texts a letter with an accent stands between plain ones; in Cyrillic, Greek or
    Asian ones such bytes stand side by side.
    """
    flag = "--items_encoding" if source.role == "items" else "--encoding"
    high = np.frombuffer(next(RawLines(source.path).pieces()), dtype=np.uint8) >= 128
    beside = int((high[1:] & high[:-1]).sum())
    if 2 * beside < int(high.sum()):
        return f"give its encoding, likely {flag}=cp1252, as Excel writes it in Western Europe"
    return f"give its encoding, such as {flag}=cp1251, gb18030 or shift_jis, by its language"


def _load_parquet(
    tables: WorkTables, source: Source, wanted: Mapping[str, str]
) -> tuple[dict[str, str], FileFacts]:
    reader = f"read_parquet({quote(str(source.path))})"
    found = {row[0]: row[1] for row in _ask(tables, source, f"DESCRIBE SELECT * FROM {reader}")}
    _check_columns(source, wanted, list(found))
    types = {name: found[column] for name, column in wanted.items()}
    floats = [name for name in KEYS if types.get(name) in _FLOATS]
    cells = ", ".join(f'{_name(column)} AS "{name}"' for name, column in wanted.items())
    keys = f"REPLACE ({', '.join(map(_digits, floats))})" if floats else ""
    sql = f"SELECT row_number() OVER () AS row, * {keys} FROM (SELECT {cells} FROM {reader})"
    _ask(tables, source, f"CREATE TEMP TABLE source AS {sql}")
    for name in floats:
        largest = tables.run(f'SELECT max(abs(TRY_CAST("{name}" AS DOUBLE))) FROM source')[0][0]
        if largest is not None and largest >= _EXACT_FLOAT:
            raise DataError(
                f"{source.path}: the column {wanted[name]!r} must be of whole numbers or text, got "
                f"{found[wanted[name]]} up to {largest:g}, whose last digits are lost; write it "
                f"anew, with Int64 in pandas"
            )
    n_rows = tables.run("SELECT count(*) FROM source")[0][0]
    return types, FileFacts(source.path.stat().st_size, n_rows, n_rows, hash_file(source.path))


def _digits(name: str) -> str:
    """A column of floats as keys: pandas makes floats of whole numbers, which are their digits."""
    whole = f'"{name}" = trunc("{name}") AND abs("{name}") < {_EXACT_FLOAT}'
    return (
        f'CASE WHEN isnan("{name}") THEN NULL WHEN {whole} THEN CAST(CAST("{name}" AS BIGINT) AS '
        f'VARCHAR) ELSE CAST("{name}" AS VARCHAR) END AS "{name}"'
    )


def _check_columns(source: Source, wanted: Mapping[str, str], there: list[str]) -> None:
    for name, column in wanted.items():
        if column not in there:
            near = difflib.get_close_matches(column, there, n=1)
            flag = "items_item" if source.role == "items" and name == "item" else name
            raise DataError(
                f"{source.path} must have the column {column!r} (--{flag}), got "
                f"{', '.join(map(_shown, there))}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )


def _shown(name: str) -> str:
    """A name as a sentence may have it: control codes are spelt."""
    return name if name.isprintable() else ascii(name)


def _ask(tables: WorkTables, source: Source, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that reads a Parquet file."""
    import duckdb

    try:
        return tables.ask(sql)
    except duckdb.OutOfMemoryException as error:
        raise tables.refusal(error) from error
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise DataError(
            f"{source.path} must be a whole Parquet file, got: {first_line(error)}"
        ) from error


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
