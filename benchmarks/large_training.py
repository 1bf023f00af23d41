"""Training on a large generated data set: memory, and an epoch computed from some hundred steps.

The data are those of ``data_scale.py``: 20 million interactions of 2 million users with half a
million items, in the order of time. Each row is a process of its own, since peak memory never
falls: it loads, takes some steps that do not count, and then the steps that do. An epoch is the
mean of these times the steps of an epoch; it is computed, not measured. Peaks count pages of
mapped files (features, histories of events) as memory of the process; they stand apart as well.
"""

import argparse
import contextlib
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as common
import data_scale
import yaml

ROWS = {
    "SASRecPlus": {},
    "SASRecPlus, memory: events": {"memory": "events"},
    "Momento without memory": {"memory": "none"},
}
MODELS = {"Momento without memory": "Momento"}


def measure(row: str, data_path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One row, in this process."""
    settings = ROWS[row] | yaml.safe_load(options.settings)
    with tempfile.TemporaryDirectory(dir=data_path) as folder:
        stages = data_scale.Stages()
        parts = stages.run(
            "load and build",
            lambda: common.make_session(
                MODELS.get(row, row.partition(",")[0]),
                data_path,
                Path(folder) / "run",
                n_negatives=options.negatives,
                train_batch_size=options.batch_size,
                **settings,
            ),
        )
        batches = common.repeat_batches(parts.train_data)
        stages.run("warm-up", lambda: [_train(parts, next(batches)) for _ in range(options.warmup)])
        seconds = stages.run(
            "steps", lambda: [_train(parts, next(batches)) for _ in range(options.steps)]
        )
    n_steps = len(parts.train_data)
    return {
        "stages": stages.rows,
        "n_steps": n_steps,
        "cpu_step": statistics.mean(seconds),
        "cpu_median_step": statistics.median(seconds),
        "cpu_epoch_computed": n_steps * statistics.mean(seconds),
    }


def _train(parts: Any, batch: Any) -> float:
    """A step as the trainer's; its CPU seconds."""
    began = time.process_time()
    parts.model.train()
    parts.trainer.step.find_gradients(batch, len(batch))
    parts.trainer.step.move_weights()
    return time.process_time() - began


def print_results(results: dict[str, Any]) -> None:
    """One row a model."""
    headers = ["", "load CPU s", "peak MB", "own MB", "of files MB", "step CPU s", "steps", "hours"]
    rows = []
    for name, found in results.items():
        last = found["stages"]["steps"]
        rows.append(
            [
                name,
                found["stages"]["load and build"]["cpu_seconds"],
                last["peak_mb"],
                last["own_mb"],
                last["files_mb"],
                found["cpu_step"],
                found["n_steps"],
                found["cpu_epoch_computed"] / 3600,
            ]
        )
    common.print_table(headers, rows)
    print("hours: of an epoch, computed from the steps that were measured")


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--steps", type=int, default=500, help="that count")
    parser.add_argument("--warmup", type=int, default=20, help="steps before them")
    parser.add_argument("--batch_size", type=int, default=2048, help="targets of a step")
    parser.add_argument("--negatives", type=int, default=2048, help="items of the sampled softmax")
    parser.add_argument("--settings", default="{}", help="YAML of settings of every row")
    parser.add_argument("--folder", type=Path, help="where the data stay for a next time")
    parser.add_argument("--of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    common.start(options)
    shape = dataclasses.replace(
        common.shape_of(options),
        users=options.users or data_scale.USERS,
        items=options.items or data_scale.ITEMS,
        interactions=options.interactions or data_scale.INTERACTIONS,
    )
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data_path = data_scale.find_large_dataset(folder, shape, options.seed)
        if options.of:
            print(json.dumps(measure(options.of, data_path, options)))
            return
        words = ["--folder", str(folder), "--threads", str(options.threads)]
        for name in ("steps", "warmup", "batch_size", "negatives", "settings", "seed"):
            words += [f"--{name}", str(getattr(options, name))]
        for name in ("users", "items", "interactions"):
            words += [f"--{name}", str(getattr(shape, name))]
        results = {}
        for row in options.rows:
            results[row] = common.run_alone(
                "large_training.py", "--of", row, *words, as_our_command=True
            )
            print_results({row: results[row]})
    print_results(results)
    common.write_results(options, {"shape": dataclasses.asdict(shape), "rows": results})


if __name__ == "__main__":
    main()
