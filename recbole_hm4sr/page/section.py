"""The parts of a page: sections with paragraphs, charts and tables."""

from dataclasses import dataclass

from recbole_hm4sr.page.bar_chart import RowChart
from recbole_hm4sr.page.charts import LineChart
from recbole_hm4sr.page.column_chart import ColumnChart

Chart = LineChart | RowChart | ColumnChart


@dataclass(frozen=True)
class Table:
    """A table whose first column holds names.

    Attributes:
        columns: Headings; all empty for none.
        rows: As many cells each.
        caption: What it shows.
        words: Whether the other columns hold sentences; else numbers.
        faint: Rows that are greyed out, from 0.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: bool = False
    faint: frozenset[int] = frozenset()


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


def facts_table(rows: tuple[tuple[str, str], ...]) -> Table:
    """A table of two columns without headings: a name, and what there is to say."""
    return Table(("", ""), rows, words=True)
