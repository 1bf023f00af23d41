"""How seconds and memory grow: of loading, a training step and an evaluation, by each size.

    OMP_NUM_THREADS=1 python benchmarks/growth.py --threads 1

From one data set five sizes are varied, each alone, over five values: users, items, interactions,
modalities, and L, the length of the windows. A value is measured in a process of its own, forked
from this one, so that memory is what it adds. The exponent is the slope of a line through the
logarithms of the five points, and that of the last two: where a part does not depend on a size, the
first lies below the second. Writes the numbers and a picture of them.
"""

import argparse
import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import _common as common
import numpy as np

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
MODALITIES = (1, 2, 3, 4, 5)
N_BATCHES = 3  # a step's batches differ in size
KINDS = (
    "load_seconds",
    "load_mb",
    "step_seconds",
    "step_mb",
    "evaluation_seconds",
    "evaluation_mb",
)
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#66c2a5")
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True)
class Size:
    """The sizes of a data set and of a model's windows.

    Attributes:
        users: Users.
        items: Items.
        interactions: Interactions of all users.
        modalities: Modalities.
        length: L, the most recent interactions that a model sees.
    """

    users: int = 4_000
    items: int = 16_000
    interactions: int = 240_000
    modalities: int = 2
    length: int = 20


TINY = Size(users=40, items=60, interactions=600, modalities=1, length=5)


def sizes(base: Size) -> dict[str, list[Size]]:
    """The five sizes of each axis, by its name."""
    found = {
        axis: [
            dataclasses.replace(base, **{axis: round(factor * getattr(base, axis))})
            for factor in FACTORS
        ]
        for axis in ("users", "items", "interactions", "length")
    }
    found["modalities"] = [dataclasses.replace(base, modalities=n) for n in MODALITIES]
    return found


# --- measuring ----------------------------------------------------------------------------------


def _kilobytes(name: str) -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Stage:
    """A context that keeps the processor seconds of its body, and the memory that it needs more."""

    def __enter__(self) -> "Stage":
        CLEAR_REFS.write_text("5")  # the peak from here on
        self._before, self._began = _kilobytes("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._began
        # The kernel updates the peak late: it may lie below the start where a body adds nothing.
        self.mb = max(0.0, (_kilobytes("VmHWM") - self._before) / 2**10)


def measure(size: Size, options: argparse.Namespace) -> dict[str, float]:
    """One size, in this process."""
    shape = common.Shape(
        size.users,
        size.items,
        size.interactions,
        categories=20,
        feature_size=options.feature_size,
        modalities=tuple(f"m{number}" for number in range(size.modalities)),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = common.write_dataset(folder, shape, options.seed)
        with Stage() as load:
            parts = common.make_session(
                options.model,
                data,
                folder / "run",
                MAX_ITEM_LIST_LENGTH=size.length,
                train_batch_size=options.batch_size,
                eval_batch_size=options.batch_size,
            )
        batches = list(itertools.islice(parts.train_data, N_BATCHES))
        seconds = []
        with Stage() as steps:
            for number in range(options.repeats):
                began = time.process_time()
                _train(parts, batches[number % len(batches)])
                seconds.append(time.process_time() - began)
        with Stage() as evaluation:
            parts.trainer.evaluator.measure(parts.valid_data)
    return {
        "load_seconds": load.seconds,
        "load_mb": load.mb,
        "step_seconds": statistics.median(seconds[1:]),
        "step_mb": steps.mb,
        "evaluation_seconds": evaluation.seconds,
        "evaluation_mb": evaluation.mb,
    }


def _train(parts: Any, batch: Any) -> None:
    """A step as the trainer's."""
    parts.model.train()
    step = parts.trainer.step
    step.find_gradients(batch, len(batch))
    step.move_weights()


def measure_alone(size: Size, options: argparse.Namespace) -> dict[str, float]:
    """One size, in a process that is forked from this one, with all that is imported here."""
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        return pool.apply(measure, (size, options))


# --- the fit ------------------------------------------------------------------------------------


def exponents(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slopes of log y over log x: of a line through all points, and between the last two."""
    logs = np.log(np.asarray([x, y], dtype=float).clip(min=1e-12))
    return float(np.polyfit(*logs, 1)[0]), float(np.diff(logs[1])[-1] / np.diff(logs[0])[-1])


def fit(points: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """The exponents of each kind by each axis."""
    return {
        axis: {
            kind: exponents([row[axis] for row in rows], [row[kind] for row in rows])
            for kind in KINDS
        }
        for axis, rows in points.items()
    }


def print_exponents(fitted: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """A row an axis; of five points, then of the last two."""
    headers = ["exponent by", *(kind.replace("_", " ") for kind in KINDS)]
    rows = [
        [axis, *(f"{every:.2f}, {last:.2f}" for every, last in kinds.values())]
        for axis, kinds in fitted.items()
    ]
    common.print_table(headers, rows)


# --- the picture --------------------------------------------------------------------------------

SIDE, GAP, TOP = 150, 46, 40


def as_svg(points: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A panel an axis, both scales logarithmic: each kind as a multiple of its first point."""
    width, height = len(points) * (SIDE + GAP) + GAP, SIDE + TOP + 70
    panels = [
        line
        for number, (axis, rows) in enumerate(points.items())
        for line in _panel(GAP + number * (SIDE + GAP), axis, rows)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" role="img" aria-label="Growth by each size, logarithmic scales">',
            "<style>text { font: 10px sans-serif; fill: #333 } .axis { stroke: #555 }</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *panels,
            *_legend(height - 12),
            "</svg>\n",
        ]
    )


def _panel(left: int, axis: str, rows: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """The lines of all kinds over one axis, and a dashed one of slope 1."""
    reach = math.log(rows[-1][axis] / rows[0][axis])
    bottom = TOP + SIDE

    def at(row: Mapping[str, float], kind: str) -> str:
        across = math.log(row[axis] / rows[0][axis]) / reach
        up = math.log(max(row[kind], 1e-12) / max(rows[0][kind], 1e-12)) / reach
        return f"{left + SIDE * across:.1f},{bottom - SIDE * min(max(up, -0.2), 1.2):.1f}"

    yield f'<text x="{left}" y="{TOP - 24}">{escape(axis)}</text>'
    yield f'<path class="axis" fill="none" d="M{left} {TOP}V{bottom}H{left + SIDE}"/>'
    yield f'<path d="M{left} {bottom}L{left + SIDE} {TOP}" stroke="#bbb" stroke-dasharray="3"/>'
    for row in (rows[0], rows[-1]):
        x = left + (SIDE if row is rows[-1] else 0)
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{row[axis]:,}</text>'
    for kind, colour in zip(KINDS, COLOURS, strict=True):
        line = " ".join(at(row, kind) for row in rows)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(y: int) -> Iterator[str]:
    for number, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        x = GAP + number * 130
        yield f'<path d="M{x} {y - 4}h16" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{x + 20}" y="{y}">{kind.replace("_", " ")}</text>'


def main() -> None:
    """Measure every size, fit, print, draw."""
    parser = common.option_parser(__doc__, repeats=7, threads=1)
    parser.add_argument("--model", default="HM4SR")
    parser.add_argument("--batch_size", type=int, default=256, help="targets of a step")
    parser.add_argument("--feature_size", type=int, default=64, help="width of each modality")
    parser.add_argument("--length", type=int, help="in place of the base's 20")
    parser.add_argument("--svg", type=Path, help="file of the picture")
    options = parser.parse_args()
    common.start(options)
    names = ("users", "items", "interactions", "length")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    measure(TINY, options)  # what is imported on first use is then in every fork
    points: dict[str, list[dict[str, Any]]] = {}
    known: dict[Size, dict[str, float]] = {}  # the base is on every axis
    for axis, of_axis in sizes(Size(**given)).items():
        points[axis] = []
        for size in of_axis:
            if size not in known:
                known[size] = measure_alone(size, options)
                print(json.dumps({**dataclasses.asdict(size), **known[size]}), flush=True)
            points[axis].append({**dataclasses.asdict(size), **known[size]})
    fitted = fit(points)
    print_exponents(fitted)
    if options.svg is not None:
        options.svg.write_text(as_svg(points), encoding="utf-8")
    common.write_results(options, {"points": points, "exponents": fitted})


if __name__ == "__main__":
    main()
