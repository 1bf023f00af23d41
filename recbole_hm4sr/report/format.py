"""Numbers, times and lengths of time as a reader takes them, and the parts of a page."""

from dataclasses import dataclass

import numpy as np

from recbole_hm4sr.report.bar_chart import RowChart
from recbole_hm4sr.report.charts import LineChart

# What stays among the candidates when a target is ranked, by the setting rank_history.
CANDIDATES = {"include": "seen items kept", "exclude": "seen items removed"}


@dataclass(frozen=True)
class Table:
    """A table; the first column holds names, the others numbers unless ``words`` is set."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: bool = False


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
    charts: tuple[LineChart | RowChart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def moment(seconds: float, *, whole_days: bool = False) -> str:
    """A time in UTC.

    >>> moment(1_609_475_146)
    '2021-01-01 04:25'
    """
    try:
        stamp = np.datetime64(int(seconds), "s")
    except (ValueError, OverflowError):
        return f"{seconds:.0f} s"
    return str(stamp.astype("datetime64[D]")) if whole_days else str(stamp)[:16].replace("T", " ")


def gap_text(seconds: float | None) -> str:
    """How much later something happened, in a natural unit; empty for none.

    >>> [gap_text(s) for s in (0, 0.3, 45, 1500, 7200, 259200)]
    ['same time', '+ 0.3 s', '+ 45 s', '+ 25 min', '+ 2 h', '+ 3 days']
    """
    if seconds is None:
        return ""
    if seconds == 0:
        return "same time"
    for unit, name in ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit or (seconds >= unit and unit < 86400):
            return f"+ {seconds / unit:.0f} {name}"
    return f"+ {seconds:.0f} s" if seconds >= 1 else f"+ {seconds:.3g} s"


def seconds_text(seconds: float) -> str:
    """A duration of a part of a run.

    >>> [seconds_text(s) for s in (0.04, 92, 4000)]
    ['0.04 s', '92 s', '1 h 7 min']
    """
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def percent(share: float) -> str:
    """A share in percent, with a decimal where it is small."""
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 or value == 0 else f"{value:.1f} %"
