"""What a table is, by its content: Parquet or CSV, and of a CSV file how it is written."""

import csv
from pathlib import Path

from recbole_hm4sr.errors import DataError
from recbole_hm4sr.prepare.raw_lines import GZIP_MAGIC, RawLines
from recbole_hm4sr.prepare.tables import quote


def table_form(path: Path) -> str:
    """``Parquet`` or ``CSV``.

    Raises:
        DataError: If the file is empty.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise DataError(f"{path} must be a CSV or Parquet file, got an empty file")
    return "Parquet" if start == b"PAR1" else "CSV"


def csv_reader(path: Path) -> str:
    """DuckDB's reader of a CSV file, in SQL; the separator is the likeliest sign of its first line.

    Nothing is left to the engine's guesses: they fail on a file with one broken line.
    """
    _, lines = next(RawLines(path).blocks())
    head = lines[0].decode("utf-8", "replace").rstrip("\r")
    sign = max(",\t;|", key=head.count)
    columns = ", ".join(f"{quote(name)}: 'VARCHAR'" for name in _header(head, sign))
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return (
        f"read_csv({quote(str(path))}, auto_detect=false, columns={{{columns}}}, "
        f"delim={quote(sign)}, quote='\"', escape='\"', header=true, store_rejects=true, "
        f"rejects_limit=0, compression='{'gzip' if packed else 'none'}')"
    )


def _header(line: str, sign: str) -> list[str]:
    """Names of the columns, each once whatever its case, as the engine wants them."""
    names: list[str] = []
    for number, cell in enumerate(next(csv.reader([line], delimiter=sign))):
        name = cell.strip() or f"column{number}"
        while name.lower() in map(str.lower, names):
            name += "_1"
        names.append(name)
    return names
