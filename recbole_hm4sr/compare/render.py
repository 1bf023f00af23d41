"""Tables as text for a terminal, as Markdown and CSV, and the files of a comparison."""

import csv
import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.compare.csv_table import csv_records
from recbole_hm4sr.compare.latex import as_latex
from recbole_hm4sr.compare.summary import Summary
from recbole_hm4sr.compare.table import Table, build_tables, details_table, main_table


def as_text(table: Table, *, bold: bool = False) -> str:
    """Columns in line, the best of each (or of each row) marked with a star.

    Args:
        table: The table.
        bold: Whether the best also stand in bold, by the codes of a terminal.
    """
    texts = [[entry.text + "*" * entry.best for entry in row] for row in table.rows]
    widths = _widths(table, texts)
    lines = [
        table.title,
        "  ".join(map(str.ljust, table.columns, widths)).rstrip(),
        "  ".join("-" * width for width in widths),
    ]
    for row, marked in zip(table.rows, texts, strict=True):
        fields = list(map(str.ljust, marked, widths))
        if bold:
            fields = [
                f"\033[1m{field}\033[0m" if entry.best else field
                for entry, field in zip(row, fields, strict=True)
            ]
        lines.append("  ".join(fields).rstrip())
    if any(entry.best for row in table.rows for entry in row):
        lines.append(f"*: the best of the {table.best_of}.")
    return "\n".join([*lines, *table.notes]) + "\n"


def _widths(table: Table, texts: Sequence[Sequence[str]]) -> list[int]:
    """Width of each column; the last entry of a short row runs on over the columns it spans."""
    own = [
        texts[:-1] if row[-1].spans else texts for row, texts in zip(table.rows, texts, strict=True)
    ]
    columns = itertools.zip_longest(table.columns, *own, fillvalue="")
    return [max(map(len, column)) for column in columns]


def as_markdown(table: Table) -> str:
    """A Markdown table, the best of each column (or row) in bold."""

    def line(texts: Sequence[str]) -> str:
        rest = [""] * (len(table.columns) - len(texts))
        return "| " + " | ".join(text.replace("|", "\\|") for text in [*texts, *rest]) + " |"

    lines = [f"### {table.title}", "", line(table.columns), line(["---"] * len(table.columns))]
    for row in table.rows:
        lines.append(line([f"**{entry.text}**" if entry.best else entry.text for entry in row]))
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """Records as CSV, every number with all its digits, NaN as an empty cell."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {
            name: "" if isinstance(value, float) and math.isnan(value) else value
            for name, value in record.items()
        }
        for record in records
    )
    return file.getvalue()


def write_tables(summaries: Sequence[Summary], out: Path) -> list[Path]:
    """Write the tables of a comparison into a folder.

    ``table.txt`` and ``table.md`` hold all of them, ``table.csv`` every number. ``table.tex`` holds
    the main tables; ``table_details.tex``, ``table_tests.tex`` and ``table_groups.tex`` the others,
    ``table_cut.tex``, in a split by one moment, those of the targets known at the cut, and
    ``table_lists.tex``, where they were measured, what the lists are like.

    Returns:
        The files.

    Raises:
        DataError: If they cannot be written.
    """
    tables = [table for summary in summaries for table in build_tables(summary)]
    texts = {
        "table.txt": "\n".join(map(as_text, tables)),
        "table.md": "\n".join(map(as_markdown, tables)),
        "table.csv": as_csv(csv_records(summaries)),
        "table.tex": as_latex(map(main_table, summaries)),
        "table_details.tex": as_latex(map(details_table, summaries)),
        "table_tests.tex": as_latex(table for table in tables if table.kind == "tests"),
        "table_groups.tex": as_latex(table for table in tables if table.kind == "groups"),
    }
    for kind in ("cut", "lists"):
        own = [table for table in tables if table.kind == kind]
        if own:
            texts[f"table_{kind}.tex"] = as_latex(own)
    paths = []
    for name, text in texts.items():
        paths.append(out / name)
        write_text(paths[-1], text)
    return paths
