"""Writing what a run answers: CSV, JSON lines or Parquet, printed or into a file."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import out

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_PRINTED = ("csv", "jsonl")
_ROWS = ("items", "lists")
# What a column of pandas is in a Parquet file, also where no row says it.
_KINDS = {"f": "FLOAT", "i": "BIGINT"}
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File to write, .csv, .jsonl or .parquet; default: print."),
]
Format = Annotated[str, typer.Option("--format", help="What is printed: csv or jsonl.")]
Rows = Annotated[
    str,
    typer.Option(help="items: a row for each item of a list; lists: one row a user, of lists."),
]


@dataclass(frozen=True)
class Form:
    """How an answer is written.

    Attributes:
        kind: ``csv``, ``jsonl`` or ``parquet``.
        file: Where to; None prints.
        rows: ``items`` or ``lists``; JSON lines are lists.
    """

    kind: str
    file: Path | None
    rows: str = "items"


def form_of(file: Path | None, printed: str, rows: str = "items") -> Form:
    """How an answer is written, by the ending of the file where there is one.

    Raises:
        ConfigError: If a flag is wrong, or a package is missing.
    """
    if rows not in _ROWS:
        raise ConfigError(f"--rows must be one of {', '.join(_ROWS)}, got {rows!r}")
    if file is None:
        if printed not in _PRINTED:
            raise ConfigError(f"--format must be one of {', '.join(_PRINTED)}, got {printed!r}")
        return Form(printed, None, rows)
    if file.suffix not in _FORMATS:
        raise ConfigError(f"--out must end in {', '.join(_FORMATS)}, got {str(file)!r}")
    kind = _FORMATS[file.suffix]
    if kind == "parquet":
        try:
            import duckdb  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "Parquet files need duckdb; pip install 'recbole-hm4sr[prepare]', or write CSV"
            ) from error
    return Form(kind, file, rows)


def give(
    form: Form, table: Callable[[], Any], records: Callable[[], Iterable[Any]], summary: str
) -> None:
    """Print an answer, or write it and say what it has.

    Args:
        form: Of :func:`form_of`.
        table: Makes the data frame, of a row an item or of lists.
        records: Makes the dictionaries of JSON lines.
        summary: What is said of a file.

    Raises:
        WriteError: If the file cannot be written.
    """
    if form.kind == "parquet":
        assert form.file is not None
        _write_parquet(form.file, table())
        out.print(f"{summary}: {form.file}")
        return
    if form.kind == "csv":
        frame = table()
        if form.rows == "lists":
            for name in frame.columns:
                if frame[name].map(lambda cell: isinstance(cell, list)).all():
                    frame[name] = frame[name].map(lambda it: json.dumps(it, ensure_ascii=False))
        text = str(frame.to_csv(index=False, lineterminator="\n"))
    else:
        text = "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in records())
    if form.file is None:
        sys.stdout.write(text)
        return
    from recbole_hm4sr.base.files import write_text

    write_text(form.file, text)
    out.print(f"{summary}: {form.file}")


def _write_parquet(path: Path, frame: Any) -> None:
    """Write a data frame whole or not at all."""
    import duckdb

    from recbole_hm4sr.base.files import write_whole

    cells = []
    for name in frame.columns:
        quoted = '"' + str(name).replace('"', '""') + '"'
        kind = _KINDS.get(frame[name].dtype.kind, "")
        cells.append(f"CAST({quoted} AS {kind}) AS {quoted}" if kind else quoted)
    with tempfile.TemporaryDirectory(prefix="hm4sr-") as folder, duckdb.connect() as connection:
        whole = Path(folder) / "answer.parquet"
        connection.register("answer", frame)
        connection.execute(
            f"COPY (SELECT {', '.join(cells)} FROM answer) TO '{whole}' (FORMAT parquet)"
        )

        def copy(file: BinaryIO) -> None:
            with whole.open("rb") as written:
                shutil.copyfileobj(written, file)

        write_whole(path, copy)
