"""Bars and intervals in the coordinates of a picture; the HTML page draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 30, 22, 26
_ROW = 26
_NAME = 190
_N_LABELS = 11  # bars up to this number are labelled each, more of them six in all


@dataclass(frozen=True)
class Bar:
    """A bar, and where its label and its number stand; an empty label is not drawn."""

    x: float
    y: float
    width: float
    height: float
    label: str
    label_x: float
    label_y: float
    number: str
    number_x: float
    number_y: float


@dataclass(frozen=True)
class BarChart:
    """Bars of counts, upright or flat."""

    title: str
    bars: tuple[Bar, ...]
    flat: bool
    height: int
    width: int = _WIDTH
    kind: str = "bars"


@dataclass(frozen=True)
class Interval:
    """A named value with its interval, in the picture's coordinates."""

    name: str
    y: float
    low: float
    middle: float
    high: float
    words: str


@dataclass(frozen=True)
class IntervalChart:
    """Intervals above each other, and where zero is."""

    title: str
    rows: tuple[Interval, ...]
    zero: float
    height: int
    width: int = _WIDTH
    kind: str = "intervals"


def bar_chart(title: str, counts: Sequence[tuple[str, int]], *, flat: bool = False) -> BarChart:
    """Bars that start at zero, the highest as high as the picture.

    Args:
        title: What is counted.
        counts: Label and count of each bar.
        flat: Whether the bars lie, for labels that are names.
    """
    top = max((number for _, number in counts), default=0) or 1
    if flat:
        lying = tuple(
            _flat_bar(place, label, number / top, number)
            for place, (label, number) in enumerate(counts)
        )
        return BarChart(title, lying, flat, _ROW * len(counts) + 8)
    n_bars = max(len(counts), 1)
    every = 1 if n_bars <= _N_LABELS else -(-n_bars // 6)
    step = (_WIDTH - _LEFT - _RIGHT) / n_bars
    room = _HEIGHT - _TOP - _BOTTOM
    bars = []
    for place, (label, number) in enumerate(counts):
        x, height = _LEFT + place * step, room * number / top
        few = n_bars <= _N_LABELS or number == top
        bars.append(
            Bar(
                x=_place(x + 0.06 * step),
                y=_place(_HEIGHT - _BOTTOM - height),
                width=_place(0.88 * step),
                height=_place(height),
                label=label if place % every == 0 else "",
                label_x=_place(x + step / 2),
                label_y=_HEIGHT - _BOTTOM + 16,
                number=f"{number:,}" if few else "",
                number_x=_place(x + step / 2),
                number_y=_place(_HEIGHT - _BOTTOM - height - 5),
            )
        )
    return BarChart(title, tuple(bars), flat, _HEIGHT)


def _flat_bar(place: int, label: str, part: float, number: int) -> Bar:
    y, width = 4 + place * _ROW, (_WIDTH - _NAME - 80) * part
    middle = y + _ROW / 2 + 1
    return Bar(
        x=_NAME,
        y=y,
        width=_place(width),
        height=_ROW - 6,
        label=label if len(label) <= 28 else label[:27] + "…",
        label_x=_NAME - 8,
        label_y=middle,
        number=f"{number:,}",
        number_x=_place(_NAME + width + 6),
        number_y=middle,
    )


def interval_chart(title: str, values: Sequence[tuple[str, float, float, float]]) -> IntervalChart:
    """Intervals on one axis that holds zero.

    Args:
        title: What is shown.
        values: Name, lower end, value and upper end of each.
    """
    ends = [0.0, *(end for _, low, _, high in values for end in (low, high))]
    least, span = min(ends), (max(ends) - min(ends)) or 1.0

    def x(value: float) -> float:
        return round(_NAME + (value - least) / span * (_WIDTH - _NAME - 90), 1)

    rows = tuple(
        Interval(name, _ROW * place + 18.0, x(low), x(middle), x(high), f"{middle:+.4f}")
        for place, (name, low, middle, high) in enumerate(values)
    )
    return IntervalChart(title, rows, x(0.0), _ROW * len(values) + 12)


def _place(value: float) -> float:
    return round(value, 1)
