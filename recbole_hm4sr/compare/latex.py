"""Tables as LaTeX (package booktabs), as narrow as the text of a page in the class article.

A table that is too wide for the text takes a smaller font, then becomes several tables, each with
its first columns; one with too many rows for a page becomes several as well. Widths are computed
here from the letters, as wide as LaTeX's own font draws them at most, so that no table needs a
package that scales it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from recbole_hm4sr.compare.table import Entry, Table

# All widths are in the size of the text's font, for letters as wide as in Computer Modern at 10
# points. A line holds 34.5 at 10 points, 32.9 at 11 and 33.2 at 12.
_TEXT_WIDTH = 32.5
_PAGE_LINES, _MIN_LINES = 33, 6  # lines of a float besides its caption; rows beside long notes
_MAX_FLOATS = 10
_NOTE_WIDTH = 38.0  # of a line of footnotesize
_SEPARATOR = 0.8  # between two columns
# Fonts by falling size, the font of a deviation in each, and how wide their letters are beside the
# text's: the most of 10, 11 and 12 points.
_FONTS = (
    (r"\normalsize", r"\scriptsize", 1.0),
    (r"\small", r"\scriptsize", 0.93),
    (r"\footnotesize", r"\tiny", 0.86),
    (r"\scriptsize", r"\tiny", 0.81),
)
_DEVIATION, _BOLD = 0.87, 1.17  # letters of a deviation and of the best, beside the others
_LONGEST_LABEL = 14  # in the font's size; longer ones, of so many letters at least, are broken
_LONGEST_HEADING = 11  # of a column of numbers, in the font's size; longer ones are broken
_LONGEST_WORD = 30  # letters of a sentence without a place to break a line
_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$^{\dagger}$",
    "-": "$-$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
# Widths of the letters that are not about as wide as others of their kind.
_LETTERS = {
    **dict.fromkeys(" .,:;'!|ijl", 0.29),
    **dict.fromkeys("ftrsI()[]", 0.4),
    **dict.fromkeys("mw%&@+±", 0.83),
    **dict.fromkeys("MW", 1.03),
}


def as_latex(tables: Iterable[Table]) -> str:
    """A file to be read by a document: the best of a column in bold, the second underlined."""
    floats = [text for table in tables for text in _floats(table)]
    # LaTeX keeps few floats for a later page; then it stops with an error.
    for number in range(_MAX_FLOATS, len(floats), _MAX_FLOATS):
        floats[number] = "\\clearpage\n" + floats[number]
    return "\n".join(["% in the preamble: \\usepackage{booktabs}\n", *floats])


def _floats(table: Table) -> list[str]:
    blocks = list(_blocks(table))
    return [
        _float(table, columns, rows, number, len(blocks))
        for number, (columns, rows) in enumerate(blocks, start=1)
    ]


def _blocks(table: Table) -> Iterator[tuple[list[int], list[tuple[Entry, ...]]]]:
    """Columns and rows of each float."""
    below = sum(_n_lines(note, _NOTE_WIDTH) for note in _notes(table))
    above = max(_n_lines(heading, _LONGEST_HEADING) for heading in table.columns) - 1
    room = max(_PAGE_LINES - below - above, _MIN_LINES)
    for columns in _column_blocks(table):
        rows: list[tuple[Entry, ...]] = []
        n_lines = 0
        for row in table.rows:
            labels = [entry.text for entry in row[: table.n_labels]]
            height = max((_n_lines(text, _LONGEST_LABEL) for text in labels), default=1)
            if rows and n_lines + height > room:
                yield columns, rows
                rows, n_lines = [], 0
            rows.append(row)
            n_lines += height
        yield columns, rows


def _n_lines(text: str, width: float) -> int:
    """Lines of a text, at most: words leave some of a line empty."""
    return 1 if _width(text) <= width else math.ceil(1.2 * _width(text) / width)


def _column_blocks(table: Table) -> list[list[int]]:
    """As few blocks as fit, each with the labels and about as many of the other columns."""
    widths = [_column_width(table, column) for column in range(len(table.columns))]
    labels, rest = list(range(table.n_labels)), list(range(table.n_labels, len(widths)))
    for size in range(len(rest), 0, -1):
        blocks = [[*labels, *rest[begin : begin + size]] for begin in range(0, len(rest), size)]
        widest = max(sum(widths[column] for column in block) for block in blocks)
        if widest * _FONTS[-1][2] <= _TEXT_WIDTH:
            break
    return blocks


def _float(
    table: Table,
    columns: Sequence[int],
    rows: Sequence[tuple[Entry, ...]],
    number: int,
    count: int,
) -> str:
    font, small = _fonts(table, columns)
    part = f" ({number} of {count})" if count > 1 else ""
    words = re.findall(r"\w+", table.title.replace("tie_order", ""))
    label = "-".join([*words, *[str(number)] * (count > 1)]).lower()
    shapes = "".join(_shape(table, column) for column in columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_breakable(table.title)}{part}.}}",
        rf"\label{{tab:{label}}}",
        r"\par\smallskip",
        rf"{{{font}\setlength{{\tabcolsep}}{{{_SEPARATOR / 2}em}}",
        rf"\begin{{tabular}}{{@{{}}{shapes}@{{}}}}",
        r"\toprule",
        _line([_heading(table, column) for column in columns]),
        r"\midrule",
        *(_line([_field(table, row, column, small) for column in columns]) for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    below = _lines_below(table) if number == count else []
    return "\n".join([*lines, *below, r"\end{table}"]) + "\n"


def _fonts(table: Table, columns: Sequence[int]) -> tuple[str, str]:
    """The largest font in which the columns fit, and that of a deviation."""
    width = sum(_column_width(table, column) for column in columns)
    font, small, _ = next((f for f in _FONTS if width * f[2] <= _TEXT_WIDTH), _FONTS[-1])
    return font, small


def _lines_below(table: Table) -> list[str]:
    notes = _notes(table)
    if not notes:
        return []
    return [
        r"\par\smallskip",
        *(rf"{{\footnotesize\raggedright {note}\par}}" for note in notes),
    ]


def _heading(table: Table, column: int) -> str:
    text = table.columns[column]
    if column < table.n_labels or _width(text) <= _LONGEST_HEADING:
        return _breakable(text)
    broken = _breakable(text, _LONGEST_HEADING)
    return rf"\parbox[b]{{{_LONGEST_HEADING}em}}{{\raggedleft {broken}}}"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entries(table: Table, column: int) -> list[Entry]:
    return [_entry(row, column) for row in table.rows]


def _entry(row: Sequence[Entry], column: int) -> Entry:
    """A field; a row without a result, whose last entry says why below the table, has dashes."""
    return row[column] if column < len(row) - row[-1].spans else Entry("-")


def _notes(table: Table) -> list[str]:
    failed = [f"{row[0].text}: {row[-1].text}." for row in table.rows if row[-1].spans]
    marked = any(entry.mark for row in table.rows for entry in row)
    marks = [f"$^{{*}}$: {_breakable(table.mark_means)}"] * marked
    return [*marks, *map(_breakable, [*failed, *table.notes])]


def _field(table: Table, row: Sequence[Entry], column: int, small: str) -> str:
    entry = _entry(row, column)
    if column >= table.n_labels:
        return _number(entry, small)
    if _is_broken(table, column):
        return rf"\raggedright {_breakable(entry.text, _LONGEST_LABEL)}"
    return _breakable(entry.text)


def _number(entry: Entry, small: str) -> str:
    mean, _, deviation = entry.text.partition(" ± ")
    text = _breakable(mean)
    if entry.best:
        text = rf"\textbf{{{text}}}"
    elif entry.second:
        text = rf"\underline{{{text}}}"
    if deviation:
        text += rf"\,{{{small}$\pm${deviation}}}"
    # Without a width of its own, so that digits stay below digits.
    return text + (r"\rlap{$^{*}$}" if entry.mark else "")


def _shape(table: Table, column: int) -> str:
    if column >= table.n_labels:
        return "r"
    return rf"p{{{_LONGEST_LABEL}em}}" if _is_broken(table, column) else "l"


def _is_broken(table: Table, column: int) -> bool:
    return max(map(_width, _texts(table, column))) > _LONGEST_LABEL


def _texts(table: Table, column: int) -> list[str]:
    return [table.columns[column], *(entry.text for entry in _entries(table, column))]


def _column_width(table: Table, column: int) -> float:
    entries = max((_width(entry.text) for entry in _entries(table, column)), default=0.0)
    if column < table.n_labels:
        widest = max(entries, _width(table.columns[column]))
        return min(widest, _LONGEST_LABEL) + _SEPARATOR
    widest = max(entries, min(_width(table.columns[column]), _LONGEST_HEADING))
    best = max((_width(e.text) for e in _entries(table, column) if e.best), default=0.0)
    return max(widest, _BOLD * best) + _SEPARATOR


def _width(text: str) -> float:
    """Width of a text; a deviation is written in a smaller font."""
    mean, _, deviation = text.partition(" ± ")
    size = sum(map(_letter, mean))
    return size + (0.2 + _DEVIATION * (0.8 + sum(map(_letter, deviation))) if deviation else 0.0)


def _letter(sign: str) -> float:
    if sign in _LETTERS:
        return _LETTERS[sign]
    if sign.isdigit():
        return 0.5
    return 0.56 if sign.islower() else 0.79


def _breakable(text: str, longest: int = _LONGEST_WORD) -> str:
    """LaTeX of a text whose lines can be broken in names and paths longer than ``longest``."""
    words = []
    for word in text.split(" "):
        pieces = [word]
        if len(word) > longest:
            pieces = re.findall(rf"[^/_=,]{{1,{longest}}}[/_=,]?|[/_=,]", word)
        words.append(r"\allowbreak{}".join(map(_escape, pieces)))
    return " ".join(words)


def _escape(text: str) -> str:
    # A minus is longer than a hyphen.
    return re.sub(
        r"(?<!\w)-(?=[\d.])|[\\~^<>|±†&%$#_{}]", lambda match: _SIGNS[match.group()], text
    )
