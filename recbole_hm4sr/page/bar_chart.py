"""Horizontal bars as inline SVG, in the coordinates of a picture."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from recbole_hm4sr.page.charts import (
    LETTER,
    N_COLOURS,
    WIDTH,
    Numbers,
    Scale,
    axis_ticks,
    coordinate,
)
from recbole_hm4sr.page.format import NONE, number_text

_ROW = 26
_BAR = 15
_LONGEST_LABEL = 22  # letters; longer ones are cut, and whole in the tip and the table


@dataclass(frozen=True)
class Piece:
    """A piece of a bar."""

    x: float
    width: float
    colour: int
    tip: str


@dataclass(frozen=True)
class Row:
    """A bar with its label and its number.

    Attributes:
        label: Its name.
        y: Its upper edge.
        pieces: What it is made of.
        text: What is written at its end.
        text_x: Where that begins.
        whisker: Ends of its interval, or None.
        faint: Whether it is greyed out.
    """

    label: str
    y: float
    pieces: tuple[Piece, ...]
    text: str
    text_x: float
    whisker: tuple[float, float] | None
    faint: bool = False


@dataclass(frozen=True)
class RowChart:
    """Horizontal bars, whole or in pieces.

    Attributes:
        title: What is drawn.
        x_title: What the length of a bar counts, with its unit.
        rows: The bars.
        legend: Name and colour of the pieces; empty for bars of one piece.
        x_ticks: Position and label of each tick.
        zero: Where zero is.
        label_x: Where the labels end.
        height: Height of the picture.
        bottom: Where the axis is.
        numbers: The same as a table.
    """

    title: str
    x_title: str
    rows: tuple[Row, ...]
    legend: tuple[tuple[str, int], ...]
    x_ticks: tuple[tuple[float, str], ...]
    zero: float
    label_x: float
    height: float
    bottom: float
    numbers: Numbers
    kind: str = "rows"
    width: int = WIDTH
    bar: int = _BAR


def horizontal_bars(
    title: str,
    rows: Sequence[tuple[str, Sequence[float], str]],
    *,
    x_title: str,
    pieces: Sequence[str] = (),
    intervals: Sequence[tuple[float, float] | None] = (),
    ceiling: float | None = None,
    faint: Collection[int] = (),
) -> RowChart:
    """Horizontal bars that start at zero; negative pieces are left of it.

    Args:
        title: What is drawn.
        rows: Label, the lengths of its pieces, and the text at its end.
        x_title: What a length counts.
        pieces: Names of the pieces; none for bars of one.
        intervals: The interval of each bar of one piece, or None.
        ceiling: Right end of the axis, where it is known.
        faint: Rows that are greyed out, from 0.
    """
    ticks = _ticks(rows, intervals, ceiling)
    across, right = _across(rows, ticks)
    drawn = [
        Row(
            label=_shortened(label),
            y=4.0 + number * _ROW,
            pieces=_pieces(label, values, pieces, across),
            text=text,
            text_x=right + 8,
            whisker=_whisker(intervals[number], across) if intervals else None,
            faint=number in faint,
        )
        for number, (label, values, text) in enumerate(rows)
    ]
    bottom = 6.0 + _ROW * len(rows)
    return RowChart(
        title=title,
        x_title=x_title,
        rows=tuple(drawn),
        legend=tuple((name, k % N_COLOURS) for k, name in enumerate(pieces)),
        x_ticks=tuple((across.at(tick), number_text(tick)) for tick in ticks),
        zero=across.at(0),
        label_x=coordinate(across.begin - 8),
        height=bottom + 36,
        bottom=bottom,
        numbers=_row_numbers(rows, x_title, pieces, intervals),
    )


def _across(
    rows: Sequence[tuple[str, Sequence[float], str]], ticks: Sequence[float]
) -> tuple[Scale, float]:
    """The axis between the labels and the texts, and its right end."""
    labels = (_shortened(label) for label, _, _ in rows)
    left = 14 + LETTER * max((len(label) for label in labels), default=0)
    text_room = 10 + LETTER * max((len(text) for _, _, text in rows), default=0)
    right = WIDTH - max(text_room, 14)
    return Scale(ticks[0], ticks[-1], left, right), right


def _ticks(
    rows: Sequence[tuple[str, Sequence[float], str]],
    intervals: Sequence[tuple[float, float] | None],
    ceiling: float | None,
) -> tuple[float, ...]:
    if ceiling is not None:
        return tuple(ceiling * part / 4 for part in range(5))
    reach = [bound for _, values, _ in rows for bound in _reach(values)]
    reach += [end for interval in intervals if interval for end in interval]
    return axis_ticks([0.0, *reach], n_steps=3)


def _whisker(interval: tuple[float, float] | None, across: Scale) -> tuple[float, float] | None:
    return None if interval is None else (across.at(interval[0]), across.at(interval[1]))


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def _pieces(
    label: str, values: Sequence[float], names: Sequence[str], across: Scale
) -> tuple[Piece, ...]:
    """Positive pieces one after the other to the right of zero, negative ones to the left."""
    parts, left, right = [], 0.0, 0.0
    for number, value in enumerate(values):
        begin = left + value if value < 0 else right
        name = f"{names[number]}: " if names else ""
        x = across.at(begin)
        parts.append(
            Piece(
                x,
                coordinate(across.at(begin + abs(value)) - x),
                number % N_COLOURS,
                f"{label}\n{name}{number_text(value)}",
            )
        )
        left, right = left + min(value, 0.0), right + max(value, 0.0)
    return tuple(parts)


def _row_numbers(
    rows: Sequence[tuple[str, Sequence[float], str]],
    x_title: str,
    pieces: Sequence[str],
    intervals: Sequence[tuple[float, float] | None],
) -> Numbers:
    columns = ["", *(pieces or [x_title])]
    table = []
    for number, (label, values, text) in enumerate(rows):
        cells = [label, *(number_text(value) for value in values)]
        if intervals:
            interval = intervals[number]
            cells.append(NONE if interval is None else " to ".join(map(number_text, interval)))
        table.append((*cells, text))
    columns += ["95 % interval"] if intervals else []
    return Numbers((*columns, "note"), tuple(table))


def _reach(values: Sequence[float]) -> tuple[float, float]:
    return sum(min(value, 0.0) for value in values), sum(max(value, 0.0) for value in values)
