"""A training step and an epoch of every row of a grid, as shares of RecBole's SASRec.

Each row is timed in turn with RecBole's SASRec, in one process, on the batches of its own training
loader: a step is what the trainer does, and it takes other rows than SASRec's prefixes where a
model trains on whole histories. So the epoch is what compares: the steps of an epoch at the median
step, plus what a model does before an epoch (k-means, similar items). Without ``--data_path`` the
data are made.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common

from recbole_hm4sr.compare.grid import Grid, find_grid, read_grid

BASE = "SASRec"
N_BATCHES = 4


def make_step(session: Any) -> Callable[[], None]:
    """A function that trains one step, on each of some batches in turn, made beforehand."""
    trainer, device = session.trainer, session.trainer.device
    waiting = [batch.to(device) for batch in itertools.islice(session.train_data, N_BATCHES)]
    turns = itertools.cycle(waiting)
    session.model.train()

    def step() -> None:
        trainer.step.find_gradients(next(turns), 1)
        trainer.step.move_weights()

    return step


def seconds_before_an_epoch(session: Any) -> float:
    """CPU seconds of what a model does before each epoch; 0 for most."""
    if not hasattr(session.model, "begin_epoch"):
        return 0.0
    began = time.process_time()
    session.model.begin_epoch(1, session.train_data._dataset)
    return time.process_time() - began


def measure_row(
    grid: Grid, label: str, base: Any, options: argparse.Namespace, data: tuple[Path, str]
) -> dict[str, Any]:
    """One row beside the base."""
    spec = next(spec for spec in grid.models if spec.label == label)
    with tempfile.TemporaryDirectory() as folder:
        own = common.make_session(
            spec.model,
            data[0],
            Path(folder),
            dataset=data[1],
            device=options.device,
            **settings_of(grid, spec, made=options.data_path is None),
        )
        before = seconds_before_an_epoch(own)
        timings = common.time_alternately(
            {label: make_step(own), BASE: make_step(base)},
            repeats=options.repeats,
            device=options.device,
        )
    share = common.time_by_rounds(timings, label, BASE, "cpu")
    step = timings[label].seconds["cpu_median"]
    epoch = step * len(own.train_data) + before
    base_epoch = step / share * len(base.train_data)
    return {
        **timings[label].seconds,
        "model": spec.model,
        "settings": dict(spec.settings),
        "steps_per_epoch": len(own.train_data),
        "before_an_epoch": before,
        "step_share": share,
        "epoch": epoch,
        "epoch_share": epoch / base_epoch,
        "parameters": sum(p.numel() for p in own.model.parameters() if p.requires_grad),
    }


def settings_of(grid: Grid, spec: Any, *, made: bool) -> dict[str, Any]:
    """Settings of a row; data that are made name their own modalities."""
    settings = grid.overrides(spec)
    if made:
        for name in ("modalities", "text_fields", "category_field"):
            settings.pop(name, None)
    return settings


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=7, threads=1)
    parser.add_argument("--grid", default="zoo-beauty", help="its rows are measured")
    parser.add_argument("--models", nargs="+", help="labels of some of them")
    parser.add_argument("--data_path", type=Path, help="folder above a data set; default: made")
    parser.add_argument("--dataset", default=common.DATASET, help="name of the data set in it")
    options = parser.parse_args()
    common.start(options)
    grid = read_grid(find_grid(options.grid))
    labels = options.models or [spec.label for spec in grid.models if spec.model != BASE]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = options.data_path is None
        path = options.data_path
        if made:
            path = common.write_dataset(
                Path(folder) / "data", common.shape_of(options), options.seed
            )
        data = (path, options.dataset)
        base = common.make_session(
            BASE,
            path,
            Path(folder) / "base",
            dataset=options.dataset,
            device=options.device,
            trim_padding=False,  # as in RecBole, and with torch's own way of Adam
        )
        base.trainer.optimizer.param_groups[0]["fused"] = None
        for label in labels:
            results[label] = measure_row(grid, label, base, options, data)
            common.write_results(options, {"base_steps": len(base.train_data), "rows": results})
    print_results(results)


def print_results(results: dict[str, Any]) -> None:
    """One line a row."""
    headers = ["", "step CPU ms", "share", "steps", "epoch CPU s", "share", "parameters"]
    common.print_table(
        headers,
        [
            [
                label,
                1e3 * row["cpu_median"],
                row["step_share"],
                row["steps_per_epoch"],
                row["epoch"],
                row["epoch_share"],
                row["parameters"],
            ]
            for label, row in results.items()
        ],
    )


if __name__ == "__main__":
    main()
