"""One run as one HTML page that opens without a network.

The page is made from the files of the run's folder alone (``metrics.json``, ``history.jsonl``,
``config.yaml``), so it can be made again at any time. All text is escaped.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recbole_hm4sr.errors import DataError
from recbole_hm4sr.files import write_text

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28


@dataclass(frozen=True)
class Line:
    """One named curve, in the coordinates of the picture."""

    name: str
    points: str
    last: str


@dataclass(frozen=True)
class Chart:
    """Curves over the epochs with their axes.

    Attributes:
        title: What is drawn.
        lines: The curves.
        x_ticks: Position and label of each tick of the epoch axis.
        y_ticks: The same for values.
        marker: Position of the best epoch, if it is to be marked.
    """

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marker: float | None
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def write_report(run_dir: Path) -> Path:
    """Make ``report.html`` of a finished run.

    Args:
        run_dir: Folder of the run.

    Returns:
        The page.

    Raises:
        DataError: If the run has not finished, or its folder cannot be written.
    """
    metrics = _read_json(run_dir / "metrics.json")
    history = [
        json.loads(line)
        for line in (run_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    environment = Environment(
        loader=PackageLoader("recbole_hm4sr", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        run=metrics,
        table=metric_rows(metrics),
        charts=run_charts(history, metrics["best_epoch"]),
        history=history,
        settings=(run_dir / "config.yaml").read_text(encoding="utf-8"),
        train_seconds=sum(record["train_seconds"] for record in history),
        valid_seconds=sum(record["valid_seconds"] for record in history),
    )
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Each metric with its values on test, history included and excluded, and on validation."""
    parts = [metrics[part] for part in ("test_include", "test_exclude", "valid")]
    return [(name, [part.get(name) for part in parts]) for name in metrics["valid"]]


def run_charts(history: Sequence[Mapping[str, Any]], best_epoch: int) -> list[Chart]:
    """The curves of a run: each named loss, and validation NDCG, MRR and Hit at 10 or the like."""
    if not history:
        return []
    epochs = [record["epoch"] for record in history]
    losses = {name: [record["losses"][name] for record in history] for name in history[0]["losses"]}
    cuts = sorted({int(name.split("@")[1]) for name in history[0]["valid"]})
    cut = cuts[len(cuts) // 2]
    valid = {
        name: [record["valid"][name] for record in history]
        for name in history[0]["valid"]
        if name.endswith(f"@{cut}")
    }
    return [
        build_chart("Training losses, mean over the steps", epochs, losses, best_epoch),
        build_chart(f"Validation metrics at {cut}", epochs, valid, best_epoch),
    ]


def build_chart(
    title: str, epochs: Sequence[int], series: Mapping[str, Sequence[float]], best_epoch: int
) -> Chart:
    """Scale curves to the picture; the value axis starts at zero."""
    top = max((max(values) for values in series.values()), default=1.0) or 1.0
    step = _round_step(top / 4)
    ceiling = step * math.ceil(top / step - 1e-9)

    def x(epoch: float) -> float:
        span = max(epochs[-1] - epochs[0], 1)
        return round(_LEFT + (epoch - epochs[0]) / span * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / ceiling * (_HEIGHT - _TOP - _BOTTOM), 1)

    lines = tuple(
        Line(
            name,
            " ".join(f"{x(epoch)},{y(value)}" for epoch, value in zip(epochs, values, strict=True)),
            f"{values[-1]:.4g}",
        )
        for name, values in series.items()
    )
    every = max(1, math.ceil(len(epochs) / 10))
    return Chart(
        title,
        lines,
        tuple((x(epoch), str(epoch)) for epoch in epochs[::every]),
        tuple((y(k * step), f"{k * step:.3g}") for k in range(round(ceiling / step) + 1)),
        x(best_epoch) if best_epoch else None,
    )


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent} must be the folder of a finished run: no {path.name}"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} must be JSON, but: {error}") from error
