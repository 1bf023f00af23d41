"""Tables as text for a terminal, as Markdown, LaTeX and CSV."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_hm4sr.compare.summary import Summary
from recbole_hm4sr.compare.table import Entry, Table, build_tables, csv_records
from recbole_hm4sr.files import write_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def as_text(table: Table, *, bold: bool = False) -> str:
    """Columns in line, the best of each marked with a star.

    Args:
        table: The table.
        bold: Whether the best also stand in bold, by the codes of a terminal.
    """
    texts = [
        [f"{entry.text}*" if entry.best else entry.text for entry in row] for row in table.rows
    ]
    # The last entry of a short row runs on over the columns that it spans.
    own = [row if len(row) == len(table.columns) else row[:-1] for row in texts]
    columns = itertools.zip_longest(table.columns, *own, fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    lines = [
        table.title,
        "  ".join(map(str.ljust, table.columns, widths)).rstrip(),
        "  ".join("-" * width for width in widths),
    ]
    for row, marked in zip(table.rows, texts, strict=True):
        fields = [
            f"\033[1m{text:<{width}}\033[0m" if bold and entry.best else f"{text:<{width}}"
            for entry, text, width in zip(row, marked, widths, strict=False)
        ]
        lines.append("  ".join(fields).rstrip())
    legend = ["*: the best of the column."] * any(entry.best for row in table.rows for entry in row)
    return "\n".join([*lines, *legend, *table.notes]) + "\n"


def as_markdown(table: Table) -> str:
    """A Markdown table, the best of each column in bold."""

    def line(texts: Sequence[str]) -> str:
        rest = [""] * (len(table.columns) - len(texts))
        return "| " + " | ".join(text.replace("|", "\\|") for text in [*texts, *rest]) + " |"

    lines = [f"### {table.title}", "", line(table.columns), line(["---"] * len(table.columns))]
    for row in table.rows:
        lines.append(line([f"**{entry.text}**" if entry.best else entry.text for entry in row]))
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def as_latex(table: Table) -> str:
    """A LaTeX table (package booktabs), the best of each column in bold."""

    def line(row: Sequence[Entry]) -> str:
        rest = len(table.columns) - len(row)
        texts = [_escape(entry.text) for entry in row]
        fields = [
            f"\\textbf{{{text}}}" if entry.best else text
            for entry, text in zip(row, texts, strict=True)
        ]
        if rest:
            fields[-1] = f"\\multicolumn{{{rest + 1}}}{{l}}{{{fields[-1]}}}"
        return " & ".join(fields) + r" \\"

    words = re.findall(r"\w+", table.title.replace("rank_history", "").replace("tie_order", ""))
    lines = [
        r"% in the preamble: \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{_escape(table.title)}.}}",
        rf"\label{{tab:{'-'.join(words).lower()}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        line([Entry(name) for name in table.columns]),
        r"\midrule",
        *map(line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par {_escape(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    if re.match(r"-[\d.]", text):  # a negative number, whose sign is longer than a hyphen
        return f"$-${_escape(text[1:])}"
    return re.sub(r"[\\~^±&%$#_{}]", lambda match: _LATEX[match.group()], text)


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """Records as CSV, every number with all its digits."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def write_tables(summaries: Sequence[Summary], out: Path) -> list[Path]:
    """Write ``table.txt``, ``table.md``, ``table.tex`` and ``table.csv`` into a folder.

    Returns:
        The files.

    Raises:
        DataError: If they cannot be written.
    """
    tables = [table for summary in summaries for table in build_tables(summary)]
    forms: dict[str, Callable[[Table], str]] = {
        "txt": as_text,
        "md": as_markdown,
        "tex": as_latex,
    }
    texts = {ending: "\n".join(map(form, tables)) for ending, form in forms.items()}
    texts["csv"] = as_csv(csv_records(summaries))
    paths = []
    for ending, text in texts.items():
        paths.append(out / f"table.{ending}")
        write_text(paths[-1], text)
    return paths
