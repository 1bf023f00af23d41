"""The parts of a page: sections with paragraphs, charts and tables."""

from dataclasses import dataclass

from recbole_hm4sr.page.bar_chart import RowChart
from recbole_hm4sr.page.charts import LineChart
from recbole_hm4sr.page.column_chart import ColumnChart

Chart = LineChart | RowChart | ColumnChart


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: What it says.
        best: Whether it is the best of those it is compared with: in bold.
        link: Address that it leads to; empty for none.
        span: How many columns it takes.
    """

    text: str
    best: bool = False
    link: str = ""
    span: int = 1


@dataclass(frozen=True)
class Table:
    """A table whose first column holds names.

    Attributes:
        columns: Headings; all empty for none.
        rows: As many cells each, less what a cell spans.
        caption: What it shows.
        words: Whether the other columns hold sentences; else numbers.
        faint: Rows that are greyed out, from 0.
        folded: Whether only its caption is shown until a reader opens it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    caption: str = ""
    words: bool = False
    faint: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: Its name in addresses.
        title: Its heading.
        link: A word or two for the list of contents.
        words: Paragraphs before the charts.
        charts: Charts, side by side where there is room.
        tables: Tables below them.
        notes: Small print at the end.
    """

    anchor: str
    title: str
    link: str
    words: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def cell_text(cell: str | Cell) -> str:
    """What a cell says."""
    return cell if isinstance(cell, str) else cell.text


def facts_table(rows: tuple[tuple[str, str], ...]) -> Table:
    """A table of two columns without headings: a name, and what there is to say."""
    return Table(("", ""), rows, words=True)
