"""Columns as inline SVG: counts of ranges, moments or names in their order."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_hm4sr.page.charts import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    AxesChart,
    Numbers,
    Scale,
    axis_ticks,
    bands,
    coordinate,
    label_axis,
    left_edge,
    lower_ticks,
)
from recbole_hm4sr.page.format import number_text

_FILLED = 0.86  # of the width that a column has


@dataclass(frozen=True)
class Column:
    """A column, in the coordinates of the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class ColumnChart(AxesChart):
    """Columns side by side that start at zero.

    Attributes:
        columns: The columns.
    """

    columns: tuple[Column, ...]
    kind: str = "columns"


def column_chart(
    title: str, counts: Sequence[tuple[str, int]], *, x_title: str, y_title: str, explained: str
) -> ColumnChart:
    """Scale counts to the picture.

    Args:
        title: What is drawn.
        counts: Label and count of each column, in their order.
        x_title: What the labels are, with their unit.
        y_title: What is counted.
        explained: What the chart says, in a sentence.
    """
    labels = [label for label, _ in counts]
    ticks = axis_ticks([0, *(count for _, count in counts)], whole=True)
    y_labels = [number_text(tick) for tick in ticks]
    axis, bottom = label_axis(labels, left_edge(y_labels)), HEIGHT - BOTTOM
    left = axis.left
    up = Scale(ticks[0], ticks[-1], bottom, TOP)
    step = (WIDTH - left - RIGHT) / max(1, len(counts))
    xs = [left + (number + 0.5) * step for number in range(len(counts))]
    columns = []
    for x, (_, count) in zip(xs, counts, strict=True):
        y = up.at(count)
        begin, width = coordinate(x - _FILLED * step / 2), coordinate(_FILLED * step)
        columns.append(Column(begin, y, width, coordinate(bottom - y)))
    texts = [number_text(count) for _, count in counts]
    return ColumnChart(
        title=title,
        explained=explained,
        x_title=x_title,
        y_title=y_title,
        columns=tuple(columns),
        x_ticks=lower_ticks([coordinate(x) for x in xs], labels, axis),
        y_ticks=tuple(zip(map(up.at, ticks), y_labels, strict=True)),
        bands=bands(xs, labels, {y_title: texts}, x_title, left),
        numbers=Numbers((x_title, y_title), tuple(zip(labels, texts, strict=True))),
        slanted=axis.slanted,
        height=axis.height,
        left=left,
        bottom=bottom,
    )


def range_labels(begins: Sequence[int]) -> list[str]:
    """Names of ranges of whole numbers, each up to the next; the last is open.

    >>> range_labels([1, 2, 3, 6])
    ['1', '2', '3 to 5', '6 or more']
    """
    names = []
    for low, after in itertools.pairwise(begins):
        names.append(str(low) if after == low + 1 else f"{low} to {after - 1}")
    return [*names, *(f"{low} or more" for low in begins[-1:])]
