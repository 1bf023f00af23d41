"""Charts as inline SVG: curves in the coordinates of a picture (``bars.py`` has lying bars).

Why not plotly, which RecBole brings: its script alone is 4.8 MB a page, more than a whole report
may weigh; it draws nothing until it has run, and it cannot take its colours from the page's style
sheet, so dark and light would be two drawings. matplotlib is not among RecBole's requirements, and
its SVG has fixed colours too. These charts are a few kB each, follow the reader's colour scheme,
print, and need no script (a short one of the page's adds tooltips). Every chart carries its
numbers as a table for readers who do not see it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 400
_HEIGHT = 230
NONE = "\u2013"  # stands where there is no number
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 42
N_COLOURS = 8
_N_LABELS = 12  # of the lower axis, at most
_N_DOTS = 31  # curves of more values have none
LETTER = 6.1  # width of a letter of the labels, about


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to places from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value; the middle where all values are the same."""
        if self.low == self.high:
            return to_place((self.begin + self.end) / 2)
        share = (value - self.low) / (self.high - self.low)
        return to_place(self.begin + share * (self.end - self.begin))


@dataclass(frozen=True)
class Line:
    """One named curve; ``points`` is an SVG path, broken where a value is missing."""

    name: str
    colour: int
    path: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Band:
    """A stretch of the picture that says its numbers when pointed at."""

    x: float
    width: float
    tip: str


@dataclass(frozen=True)
class Numbers:
    """A chart as a table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LineChart:
    """Curves over an axis of numbers or of names.

    Attributes:
        title: What is drawn.
        x_title: What the lower axis counts, with its unit.
        y_title: What the left axis counts, with its unit.
        lines: The curves.
        x_ticks: Position and label of each tick of the lower axis.
        y_ticks: The same for the left axis.
        marker: Position of a dashed upright line, or None.
        bands: What the picture says when pointed at.
        numbers: The same as a table.
        slanted: Whether the labels of the lower axis stand aslant.
        height: Height of the picture.
        bottom: Where the lower axis is.
    """

    title: str
    x_title: str
    y_title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marker: float | None
    bands: tuple[Band, ...]
    numbers: Numbers
    slanted: bool
    height: float
    bottom: float
    kind: str = "lines"
    width: int = WIDTH
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP


def line_chart(
    title: str,
    x: Sequence[float] | Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    x_title: str,
    y_title: str,
    from_zero: bool = True,
    marker: float | None = None,
    colour: int = 0,
) -> LineChart:
    """Scale curves to the picture.

    Args:
        title: What is drawn.
        x: Numbers, or names at equal distances; at least one.
        series: Name to values, one for each of ``x``; None where there is none.
        x_title: What the lower axis counts.
        y_title: What the left axis counts.
        from_zero: Whether the left axis starts at zero; else at the lowest value.
        marker: A value of ``x`` (the place among names) to mark.
        colour: Number of the first curve's colour.
    """
    named = bool(x) and isinstance(x[0], str)
    places = [float(k) for k in range(len(x))] if named else [float(value) for value in x]
    labels = [str(value) if named else f"{float(value):g}" for value in x]
    every = max(1, math.ceil(len(labels) / _N_LABELS))
    longest = max((len(label) for label in labels), default=0)
    slanted = longest * LETTER > (WIDTH - _LEFT - _RIGHT) / max(1, math.ceil(len(labels) / every))
    known = [v for values in series.values() for v in values if v is not None]
    ticks = axis_ticks(known, from_zero=from_zero)
    bottom = _HEIGHT - _BOTTOM
    # Names stand in the middle below their place and must not leave the picture.
    inset = max(6.0, longest * LETTER / 2 - _RIGHT + 2) if named and not slanted else 6.0 * named
    across = Scale(places[0], places[-1], _LEFT + inset, WIDTH - _RIGHT - inset)
    up = Scale(ticks[0], ticks[-1], bottom, _TOP)
    xs = [across.at(place) for place in places]
    cells = {name: [number_text(value) for value in values] for name, values in series.items()}
    return LineChart(
        title=title,
        x_title=x_title,
        y_title=y_title,
        lines=tuple(
            _line(name, (colour + number) % N_COLOURS, xs, values, up)
            for number, (name, values) in enumerate(series.items())
        ),
        x_ticks=tuple(zip(xs, labels, strict=True))[::every],
        y_ticks=tuple((up.at(tick), f"{tick:.4g}") for tick in ticks),
        marker=None if marker is None else across.at(marker),
        bands=_bands(xs, labels, cells, x_title),
        numbers=Numbers((x_title, *series), tuple(zip(labels, *cells.values(), strict=True))),
        slanted=slanted,
        height=to_place(_HEIGHT + (0.62 * longest * LETTER if slanted else 0)),
        bottom=bottom,
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


def _bands(
    xs: Sequence[float], labels: Sequence[str], cells: Mapping[str, Sequence[str]], x_title: str
) -> tuple[Band, ...]:
    """A stretch around each place of the lower axis."""
    edges = [_LEFT, *((a + b) / 2 for a, b in itertools.pairwise(xs)), WIDTH - _RIGHT]
    bands = []
    for place, (begin, end) in enumerate(itertools.pairwise(edges)):
        lines = [f"{name}: {texts[place]}" for name, texts in cells.items()]
        tip = "\n".join([f"{x_title}: {labels[place]}", *lines])
        bands.append(Band(to_place(begin), to_place(end - begin), tip))
    return tuple(bands)


def axis_ticks(
    values: Sequence[float], *, from_zero: bool = True, n_steps: int = 4
) -> tuple[float, ...]:
    """Round numbers that enclose values.

    >>> axis_ticks([0.4, 0.75])
    (0.0, 0.2, 0.4, 0.6, 0.8)
    >>> axis_ticks([6.31, 6.48], from_zero=False)
    (6.3, 6.35, 6.4, 6.45, 6.5)
    """
    low = min(values, default=0.0)
    high = max(values, default=1.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = (0.0, high or 1.0) if high >= 0 else (low, 0.0)
    step = _round_step((high - low) / n_steps)
    begin = math.floor(low / step + 1e-9)
    end = math.ceil(high / step - 1e-9)
    return tuple(float(f"{number * step:.12g}") for number in range(begin, end + 1))


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(
        factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9)
    )


def number_text(value: float | None) -> str:
    """A number with four digits that count; a dash for none."""
    return NONE if value is None else f"{value:.4g}"


def to_place(value: float) -> float:
    """A coordinate with one decimal, which is all a picture needs."""
    return round(value, 1)
