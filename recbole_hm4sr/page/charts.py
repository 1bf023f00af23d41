"""Line charts as inline SVG, and the axes of all charts.

Horizontal bars are in ``bar_chart.py``, columns in ``column_chart.py``.

Why not plotly, which RecBole brings: its script alone is 4.8 MB a page, more than a whole report
may weigh; it draws nothing until it has run, and it cannot take its colours from the page's style
sheet, so dark and light would be two drawings. matplotlib is not among RecBole's requirements, and
its SVG has fixed colours too. These charts are a few kB each, follow the reader's colour scheme,
print, and need no script (a short one of the page's adds tooltips). Every chart carries its
numbers as a table for readers who do not see it.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recbole_hm4sr.page.format import number_text

WIDTH = 360  # that of a phone's page: there a letter is as large as the style sheet says
HEIGHT = 230
RIGHT, TOP, BOTTOM = 12, 10, 42
N_COLOURS = 8
_N_LABELS = 12  # of the lower axis, at most
_ASLANT = math.cos(math.radians(40))  # width of a label that is aslant, as a share of its length
_N_DOTS = 31  # curves of more values have none
LETTER = 7.0  # width of a letter of the labels, in the widest of the common fonts


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to coordinates from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of a value; the middle where all values are the same."""
        if self.low == self.high:
            return coordinate((self.begin + self.end) / 2)
        share = (value - self.low) / (self.high - self.low)
        return coordinate(self.begin + share * (self.end - self.begin))


@dataclass(frozen=True)
class Line:
    """One named curve; ``points`` is an SVG path, broken where a value is missing."""

    name: str
    colour: int
    path: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Band:
    """A stretch of the picture that says its numbers when pointed at; grey where it is faint."""

    x: float
    width: float
    tip: str
    faint: bool = False


@dataclass(frozen=True)
class Numbers:
    """A chart as a table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LabelAxis:
    """Which labels of a lower axis are drawn, and how.

    Attributes:
        every: Distance of the labels that are drawn.
        slanted: Whether they are aslant, for want of width.
        longest: Width of the longest.
        left: Where the picture begins, so that all of them are whole.
    """

    every: int
    slanted: bool
    longest: float
    left: int

    @property
    def height(self) -> float:
        """Height of a picture whose labels are such."""
        return coordinate(HEIGHT + (0.62 * self.longest if self.slanted else 0))


def left_edge(y_labels: Sequence[str]) -> int:
    """Where a picture begins beside the labels and the title of its left axis."""
    return math.ceil(26 + LETTER * max(map(len, y_labels), default=0))


def label_axis(labels: Sequence[str], left: int) -> LabelAxis:
    """Choose the labels that have room below a picture that begins at ``left``, or further right.

    A label that is aslant ends below its tick and begins left of it.
    """
    every = max(1, math.ceil(len(labels) / _N_LABELS))
    widths = [LETTER * len(label) for label in labels[::every]]
    longest = LETTER * max((len(label) for label in labels), default=0)
    room = (WIDTH - left - RIGHT) / max(1, len(widths))
    slanted = longest > room
    if slanted:
        reach = [_ASLANT * width - number * room for number, width in enumerate(widths)]
        left = max(left, math.ceil(max(reach) + LETTER / 2))
    return LabelAxis(every, slanted, longest, left)


@dataclass(frozen=True)
class Tick:
    """A tick of the lower axis and its label; grey where it is faint."""

    x: float
    label: str
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class AxesChart:
    """A picture with a lower and a left axis.

    Attributes:
        title: What is drawn.
        explained: What it says to a reader who sees it first, in a sentence.
        x_title: What the lower axis counts, with its unit.
        y_title: What the left axis counts, with its unit.
        x_ticks: The ticks of the lower axis.
        y_ticks: Position and label of each tick of the left axis.
        bands: What the picture says when pointed at.
        numbers: The same as a table.
        slanted: Whether the labels of the lower axis are aslant.
        height: Height of the picture.
        left: Where the left axis is.
        bottom: Where the lower axis is.
    """

    title: str
    explained: str
    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[tuple[float, str], ...]
    bands: tuple[Band, ...]
    numbers: Numbers
    slanted: bool
    height: float
    left: int
    bottom: float
    width: int = WIDTH
    right: int = WIDTH - RIGHT
    top: int = TOP


@dataclass(frozen=True, kw_only=True)
class LineChart(AxesChart):
    """Curves over an axis of numbers or of names.

    Attributes:
        lines: The curves.
        marker: Position of a dashed upright line, or None.
    """

    lines: tuple[Line, ...]
    marker: float | None
    kind: str = "lines"


def line_chart(  # noqa: PLR0913  # keywords only
    title: str,
    x: Sequence[float] | Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    x_title: str,
    y_title: str,
    explained: str,
    from_zero: bool = True,
    marker: float | None = None,
    faint: Collection[int] = (),
) -> LineChart:
    """Scale curves to the picture.

    The left axis is made for what is not greyed out: a grey value beyond it is not drawn. Its
    number is in the table.

    Args:
        title: What is drawn.
        x: Numbers, or names at equal distances; at least one.
        series: Name to values, one for each of ``x``; None where there is none.
        x_title: What the lower axis counts.
        y_title: What the left axis counts.
        explained: What the chart says, in a sentence.
        from_zero: Whether the left axis starts at zero; else at the lowest value.
        marker: A value of ``x`` (the index among names) to mark.
        faint: Indices into ``x`` that are greyed out.
    """
    labels = [value if isinstance(value, str) else number_text(value) for value in x]
    ticks = axis_ticks(_known(series.values(), faint), from_zero=from_zero)
    y_labels = [number_text(tick) for tick in ticks]
    axis, bottom = label_axis(labels, left_edge(y_labels)), HEIGHT - BOTTOM
    left = axis.left
    across, values_x = _across(x, axis, left)
    up = Scale(ticks[0], ticks[-1], bottom, TOP)
    xs = [across.at(value) for value in values_x]
    cells = {name: [number_text(value) for value in values] for name, values in series.items()}
    inside = {name: _within(values, ticks) for name, values in series.items()}
    return LineChart(
        title=title,
        explained=explained,
        x_title=x_title,
        y_title=y_title,
        lines=_lines(xs, inside, up),
        x_ticks=lower_ticks(xs, labels, axis, faint),
        y_ticks=tuple(zip(map(up.at, ticks), y_labels, strict=True)),
        marker=None if marker is None else across.at(marker),
        bands=bands(xs, labels, cells, x_title, left, faint),
        numbers=Numbers((x_title, *series), tuple(zip(labels, *cells.values(), strict=True))),
        slanted=axis.slanted,
        height=axis.height,
        left=left,
        bottom=bottom,
    )


def _known(columns: Iterable[Sequence[float | None]], faint: Collection[int]) -> list[float]:
    """The values that the axis must hold: those that are not greyed out, if there is one."""
    numbered = [(number, value) for values in columns for number, value in enumerate(values)]
    known = [(number, value) for number, value in numbered if value is not None]
    plain = [value for number, value in known if number not in faint]
    return plain or [value for _, value in known]


def _within(values: Sequence[float | None], ticks: Sequence[float]) -> list[float | None]:
    """The values that the axis holds."""
    return [v if v is not None and ticks[0] <= v <= ticks[-1] else None for v in values]


def _across(x: Sequence[float | str], axis: LabelAxis, left: int) -> tuple[Scale, list[float]]:
    """The lower axis, and the values on it; names are at equal distances.

    A name is in the middle below its point and must not leave the picture.
    """
    named = any(isinstance(value, str) for value in x)
    values = [float(k) if isinstance(value, str) else float(value) for k, value in enumerate(x)]
    inset = 6.0 * named if axis.slanted else named * max(6.0, axis.longest / 2 - RIGHT + 2)
    return Scale(values[0], values[-1], left + inset, WIDTH - RIGHT - inset), values


def lower_ticks(
    xs: Sequence[float], labels: Sequence[str], axis: LabelAxis, faint: Collection[int] = ()
) -> tuple[Tick, ...]:
    """The ticks of a lower axis whose labels have room."""
    pairs = enumerate(zip(xs, labels, strict=True))
    return tuple(Tick(x, label, number in faint) for number, (x, label) in pairs)[:: axis.every]


def _lines(
    xs: Sequence[float], series: Mapping[str, Sequence[float | None]], up: Scale
) -> tuple[Line, ...]:
    return tuple(
        _line(name, number % N_COLOURS, xs, values, up)
        for number, (name, values) in enumerate(series.items())
    )


def _line(
    name: str, colour: int, xs: Sequence[float], values: Sequence[float | None], up: Scale
) -> Line:
    path, dots, pen = [], [], "M"
    for x, value in zip(xs, values, strict=True):
        if value is None:
            pen = "M"
            continue
        dots.append((x, up.at(value)))
        path.append(f"{pen}{x} {up.at(value)}")
        pen = "L"
    return Line(name, colour, " ".join(path), tuple(dots) if len(xs) <= _N_DOTS else ())


def bands(
    xs: Sequence[float],
    labels: Sequence[str],
    cells: Mapping[str, Sequence[str]],
    x_title: str,
    left: int,
    faint: Collection[int] = (),
) -> tuple[Band, ...]:
    """A stretch around each point of the lower axis."""
    edges = [left, *((a + b) / 2 for a, b in itertools.pairwise(xs)), WIDTH - RIGHT]
    found = []
    for number, (begin, end) in enumerate(itertools.pairwise(edges)):
        lines = [f"{name}: {texts[number]}" for name, texts in cells.items()]
        tip = "\n".join([f"{x_title}: {labels[number]}", *lines])
        width = coordinate(end - begin)
        found.append(Band(coordinate(begin), width, tip, number in faint))
    return tuple(found)


def axis_ticks(
    values: Sequence[float], *, from_zero: bool = True, whole: bool = False, n_steps: int = 4
) -> tuple[float, ...]:
    """Round numbers that enclose values.

    >>> axis_ticks([0.4, 0.75])
    (0.0, 0.2, 0.4, 0.6, 0.8)
    >>> axis_ticks([6.31, 6.48], from_zero=False)
    (6.3, 6.35, 6.4, 6.45, 6.5)
    >>> axis_ticks([0, 2], whole=True)
    (0.0, 1.0, 2.0)

    Args:
        values: What the axis must hold.
        from_zero: Whether it holds zero too.
        whole: Whether only whole numbers are ticks, as for counts.
        n_steps: Steps between ticks, about.
    """
    low, high = _bounds(values, from_zero=from_zero)
    step = _round_step((high - low) / n_steps, whole=whole)
    begin = math.floor(low / step + 1e-9)
    end = math.ceil(high / step - 1e-9)
    return tuple(float(f"{number * step:.12g}") for number in range(begin, end + 1))


def _bounds(values: Sequence[float], *, from_zero: bool) -> tuple[float, float]:
    """What an axis must hold at least; never an empty stretch."""
    low = min(values, default=0.0)
    high = max(values, default=1.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        return (0.0, high or 1.0) if high >= 0 else (low, 0.0)
    return low, high


def _round_step(step: float, *, whole: bool) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten; a whole number if asked for."""
    step = max(step, 1.0) if whole else step
    power = 10.0 ** math.floor(math.log10(step))
    factors = (1, 2, 5, 10) if whole and power < 10 else (1, 2, 2.5, 5, 10)
    return next(factor * power for factor in factors if factor * power >= step * (1 - 1e-9))


def coordinate(value: float) -> float:
    """A coordinate with one decimal, which is all a picture needs."""
    return round(value, 1)
