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
_ROUNDING = 1e-9  # pieces that sum to the ceiling
_STEPS = (4, 2, 1)  # between ticks: as many as have room
_LONGEST_LABEL = 22  # letters; longer ones are cut, and whole in the tip and the table

BarRow = tuple[str, Sequence[float], str]  # label, lengths of the pieces, text at the end


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
        beyond: Where an arrow says that it goes on beyond the axis; None if it does not.
    """

    label: str
    y: float
    pieces: tuple[Piece, ...]
    text: str
    text_x: float
    whisker: tuple[float, float] | None
    faint: bool = False
    beyond: float | None = None


@dataclass(frozen=True)
class RowChart:
    """Horizontal bars, whole or in pieces.

    Attributes:
        title: What is drawn.
        explained: What it says to a reader who sees it first, in a sentence.
        x_title: What the length of a bar counts, with its unit.
        title_x: The middle of that, so that it is whole in the picture.
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
    explained: str
    x_title: str
    title_x: float
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
    rows: Sequence[BarRow],
    *,
    x_title: str,
    explained: str,
    pieces: Sequence[str] = (),
    intervals: Sequence[tuple[float, float] | None] = (),
    ceiling: float | None = None,
    faint: Collection[int] = (),
) -> RowChart:
    """Horizontal bars that start at zero; negative pieces are left of it.

    The axis is made for what is not greyed out: a grey bar that is longer ends at an arrow.

    Args:
        title: What is drawn.
        rows: Label, the lengths of its pieces, and the text at its end.
        x_title: What a length counts.
        explained: What the chart says, in a sentence.
        pieces: Names of the pieces; none for bars of one.
        intervals: The interval of each bar of one piece, or None.
        ceiling: Right end of the axis, where it is known.
        faint: Rows that are greyed out, from 0.
    """
    spans = intervals or [None] * len(rows)
    reach = [_reach(values, span) for (_, values, _), span in zip(rows, spans, strict=True)]
    plain = [ends for number, ends in enumerate(reach) if number not in faint] or reach
    left, right = _sides(rows)
    ticks = _ticks([end for ends in plain for end in ends], ceiling, right - left)
    across = Scale(ticks[0], ticks[-1], left, right)
    drawn = [
        Row(
            label=_shortened(label),
            y=4.0 + number * _ROW,
            pieces=_pieces(label, values, pieces, across),
            text=text,
            text_x=right + 8,
            whisker=_whisker(spans[number], across),
            faint=number in faint,
            beyond=coordinate(right) if reach[number][1] > ticks[-1] + _ROUNDING else None,
        )
        for number, (label, values, text) in enumerate(rows)
    ]
    bottom = 6.0 + _ROW * len(rows)
    half = LETTER * len(x_title) / 2
    return RowChart(
        title=title,
        explained=explained,
        x_title=x_title,
        title_x=coordinate(max(half, min((left + right) / 2, WIDTH - half))),
        rows=tuple(drawn),
        legend=tuple((name, k % N_COLOURS) for k, name in enumerate(pieces)),
        x_ticks=tuple((across.at(tick), number_text(tick)) for tick in ticks),
        zero=across.at(0),
        label_x=coordinate(left - 8),
        height=bottom + 36,
        bottom=bottom,
        numbers=_row_numbers(rows, x_title, pieces, intervals),
    )


def _sides(rows: Sequence[BarRow]) -> tuple[float, float]:
    """Where the axis begins and ends, between the labels and the texts."""
    longest_label = max((len(_shortened(label)) for label, _, _ in rows), default=0)
    longest_text = max((len(text) for _, _, text in rows), default=0)
    return 14 + LETTER * longest_label, WIDTH - max(10 + LETTER * longest_text, 22)


def _ticks(reach: Sequence[float], ceiling: float | None, room: float) -> tuple[float, ...]:
    """Ticks that enclose what is drawn, as many as have room for their labels."""
    for n_steps in _STEPS:
        if ceiling is None:
            ticks = axis_ticks([0.0, *reach], n_steps=n_steps)
        else:
            ticks = tuple(ceiling * part / n_steps for part in range(n_steps + 1))
        longest = max(len(number_text(tick)) for tick in ticks)
        if LETTER * (longest + 1) * (len(ticks) - 1) <= room:
            break
    return ticks


def _whisker(interval: tuple[float, float] | None, across: Scale) -> tuple[float, float] | None:
    return None if interval is None else (_at(across, interval[0]), _at(across, interval[1]))


def _at(across: Scale, value: float) -> float:
    """The coordinate of a value; that of the axis's end where it is beyond."""
    return across.at(max(across.low, min(value, across.high)))


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
        x = _at(across, begin)
        parts.append(
            Piece(
                x,
                coordinate(_at(across, begin + abs(value)) - x),
                number % N_COLOURS,
                f"{label}\n{name}{number_text(value)}",
            )
        )
        left, right = left + min(value, 0.0), right + max(value, 0.0)
    return tuple(parts)


def _row_numbers(
    rows: Sequence[BarRow],
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


def _reach(values: Sequence[float], interval: tuple[float, float] | None) -> tuple[float, float]:
    """How far a bar and its interval go to the left and to the right."""
    low = sum(min(value, 0.0) for value in values)
    high = sum(max(value, 0.0) for value in values)
    return (low, high) if interval is None else (min(low, interval[0]), max(high, interval[1]))
