"""Seconds of training until validation NDCG@10, seen items removed, is near a model's best.

Every row is a run: a model, or a model with other settings (``--variant``). Runs are trained below
``--folder`` and resumed where a call before was stopped; runs that have been trained elsewhere are
read from their ``history.jsonl`` (``--runs``). Near is 99 % (``--share``) of the best value of the
run itself, and of the first row of the same model: the second says whether other settings reach
today's quality, and when.

Seconds are those of the run up to the end of a validation, reading the data included. Histories of
earlier releases have no processor time, and their seconds are those of steps and validations.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _common as common
import yaml

METRIC = "ndcg@10"
MODELS = ("SASRecPlus", "HM4SR", "Momento", "SASRec", "GRU4Rec", "BERT4Rec")
PROTOCOL = {"rank_history": "exclude", "valid_metric": "NDCG@10", "baselines": []}


@dataclasses.dataclass(frozen=True)
class Point:
    """A validation.

    Attributes:
        epoch: Counted from 1.
        value: Of the metric.
        wall: Seconds of the run up to its end.
        cpu: Processor seconds of the same; None where they were not kept.
    """

    epoch: int
    value: float
    wall: float
    cpu: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """The validations of a run.

    Attributes:
        name: Of its row.
        model: Name of the model.
        points: In the order of the epochs.
        note: What a reader must know of it; may be empty.
    """

    name: str
    model: str
    points: tuple[Point, ...]
    note: str = ""

    @property
    def best(self) -> Point:
        """The first of the best validations."""
        return max(self.points, key=lambda point: (point.value, -point.epoch))

    def first_at(self, value: float) -> Point | None:
        """The first validation of at least a value."""
        return next((point for point in self.points if point.value >= value), None)


def points_of(records: Iterable[Mapping[str, Any]]) -> tuple[Point, ...]:
    """The validations in the lines of a ``history.jsonl``."""
    found: list[Point] = []
    passed = 0.0
    for record in records:
        passed += record["train_seconds"] + record["valid_seconds"]
        kept = record.get("run_seconds", 0.0)
        cpu = record.get("cpu_seconds", 0.0) or None
        found.append(Point(record["epoch"], record["valid"][METRIC], kept or passed, cpu))
    return tuple(found)


def read_curve(folder: Path, name: str = "") -> Curve:
    """The curve of a run from its folder; half a run is half a curve.

    Raises:
        ValueError: If it has no finished epoch, or was not validated by the metric.
    """
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    history = folder / "history.jsonl"
    lines = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    records = [json.loads(line) for line in lines]
    if not records or METRIC not in records[0]["valid"]:
        raise ValueError(f"{folder} must have a validated epoch with {METRIC}, got none")
    notes = []
    if settings.get("rank_history", "include") != "exclude":
        notes.append("seen items kept")
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        notes.append("not finished")
    elif json.loads(metrics.read_text(encoding="utf-8")).get("ended_by") == "budget":
        notes.append("ended by its budget")
    if settings.get("eval_step", 1) > 1 and not records[0].get("run_seconds"):
        raise ValueError(f"{folder} must keep the seconds of epochs between its validations")
    return Curve(name or folder.name, settings["model"], points_of(records), ", ".join(notes))


def row_of(curve: Curve, first: Curve, share: float) -> dict[str, Any]:
    """What a table says of a curve.

    Args:
        curve: The curve.
        first: The first one of the same model.
        share: What counts as near, as a share of a best value.
    """
    best = curve.best
    own, of_first = (curve.first_at(share * it.best.value) for it in (curve, first))
    assert own is not None
    return {
        "model": curve.model,
        "best": best.value,
        "best_epoch": best.epoch,
        "epochs": curve.points[-1].epoch,
        "of_first": best.value / first.best.value,
        "own": dataclasses.asdict(own),
        "as_first": None if of_first is None else dataclasses.asdict(of_first),
        "note": curve.note,
        "curve": [dataclasses.astuple(point) for point in curve.points],
    }


def rows_of(curves: Sequence[Curve], share: float) -> dict[str, dict[str, Any]]:
    """All rows by name; the first curve of a model is what its others are measured by."""
    first: dict[str, Curve] = {}
    return {
        curve.name: row_of(curve, first.setdefault(curve.model, curve), share) for curve in curves
    }


def print_rows(rows: Mapping[str, Mapping[str, Any]], share: float) -> None:
    """A line a run: when it was near its own best, and near the best of the model's first run."""
    near = f"{share:.0%}"
    headers = ["", "best", "of first", "epoch", "of", f"{near} epoch", "wall s", "CPU s"]
    headers += [f"{near} of first: epoch", "wall s", "CPU s", "note"]
    cells = []
    for name, row in rows.items():
        own, other = row["own"], row["as_first"] or {}
        line = [name, row["best"], row["of_first"], row["best_epoch"], row["epochs"]]
        line += [own["epoch"], own["wall"], own["cpu"]]
        cells.append([*line, *(other.get(key) for key in ("epoch", "wall", "cpu")), row["note"]])
    common.print_table(headers, cells)


# --- training -----------------------------------------------------------------------------------


def parse_variant(text: str) -> tuple[str, str, dict[str, Any]]:
    """A row's name, model and settings from ``name:model:setting=value,setting=value``.

    Raises:
        ValueError: If the text has another form.
    """
    name, colon, rest = text.partition(":")
    model, more, words = rest.partition(":")
    pairs = [word.partition("=") for word in filter(None, words.split(","))]
    if not name or not colon or not model or not all(equals for _, equals, _ in pairs):
        raise ValueError(f"--variant must be name:model:setting=value,setting=value, got {text!r}")
    del more
    return name, model, {key.strip(): yaml.safe_load(value) for key, _, value in pairs}


def train(name: str, model: str, settings: Mapping[str, Any], folder: Path, dataset: str) -> Curve:
    """Train a run, or what is left of it, without a test; returns its curve."""
    from recbole_hm4sr.run import quick_start

    run_dir = folder / name
    if not (run_dir / "metrics.json").is_file():
        if (run_dir / "config.yaml").is_file():
            quick_start.resume(run_dir, test=False)
        else:
            quick_start.run(model, dataset, overrides=settings, run_dir=run_dir, test=False)
    return read_curve(run_dir, name)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What all rows have in common."""
    given = dict(word.partition("=")[::2] for word in options.set)
    common_settings = {
        **PROTOCOL,
        "seed": options.seed,
        "n_threads": options.threads,
        "use_gpu": options.device == "cuda",
        "max_cpu_minutes": options.minutes,
        "show_progress": False,
    }
    if options.data_path is not None:
        common_settings["data_path"] = str(options.data_path)
    return common_settings | {key: yaml.safe_load(value) for key, value in given.items()}


def trained(options: argparse.Namespace) -> list[Curve]:
    """The curves of all rows that are trained."""
    asked = [(model, model, {}) for model in options.models]
    asked += [parse_variant(text) for text in options.variant]
    shared = settings_of(options)
    files = [options.config] if options.config else []
    below = yaml.safe_load(files[0].read_text(encoding="utf-8")) if files else {}
    curves = []
    for name, model, own in asked:
        settings = {**below, **shared, **own}
        if model not in common.MODELS:
            settings["modalities"] = {}  # RecBole's read no features
        curves.append(train(name, model, settings, options.folder, options.dataset))
        point = curves[-1].best
        print(f"{name}: best {point.value:.4f} in epoch {point.epoch}", flush=True)
    return curves


def main() -> None:
    """Parse the options, train what is asked for, print the table."""
    parser = common.option_parser(__doc__, threads=1, seed=2020)
    parser.add_argument("--data_path", type=Path, help="folder above the data set")
    parser.add_argument("--dataset", help="default: beauty with --data_path, else the sample")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument(
        "--variant", nargs="*", default=[], help="name:model:setting=value,setting=value"
    )
    parser.add_argument("--set", nargs="*", default=[], help="setting=value of every row")
    parser.add_argument("--config", type=Path, help="settings file of the data set")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="folders to read")
    parser.add_argument("--folder", type=Path, default=Path("runs/time-to-quality"))
    parser.add_argument("--minutes", type=float, default=0, help="processor minutes of a row")
    parser.add_argument("--share", type=float, default=0.99)
    options = parser.parse_args()
    options.dataset = options.dataset or ("beauty" if options.data_path else "sports")
    common.start(options)
    curves = [*trained(options), *(read_curve(folder) for folder in options.runs)]
    rows = rows_of(curves, options.share)
    print_rows(rows, options.share)
    options.runs = [folder.name for folder in options.runs]
    common.write_results(options, {"metric": METRIC, "rows": rows})


if __name__ == "__main__":
    main()
