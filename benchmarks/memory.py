"""A training step and an evaluation with a memory, against the same model without one.

Steps of both are timed in turn, then evaluations of the test part. ``--data_path`` and
``--dataset`` name real data in atomic files; else data of ``--shape`` is made, whose events are
those of items drawn at random.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import _common as common
import torch
from evaluation import own_evaluation
from train_step import make_step

WITHOUT, WITH = "without", "with a memory"


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time steps of both in turn, then evaluations."""
    data_path, dataset = options.data_path, options.dataset
    if data_path is None:
        shape = common.shape_of(options)
        data_path = common.write_dataset(folder / "data", shape, options.seed)
        dataset = common.DATASET
    settings = {} if options.settings is None else {"config_files": [options.settings]}
    sessions = {
        name: common.make_session(
            options.model,
            data_path,
            folder / memory,
            dataset=dataset,
            device=options.device,
            memory=memory,
            memory_events=options.memory_events,
            **settings,
        )
        for name, memory in ((WITHOUT, "none"), (WITH, "events"))
    }
    steps = {
        name: make_step(session, n_batches=options.repeats + 2)
        for name, session in sessions.items()
    }
    evaluations = {name: own_evaluation(session) for name, session in sessions.items()}
    of_steps = common.time_alternately(steps, repeats=options.repeats, device=options.device)
    of_evaluations = common.time_alternately(
        evaluations, repeats=3, warmup=1, device=options.device
    )
    session = sessions[WITH]
    return {
        "dataset": dataset,
        "model": options.model,
        "rows_per_step": _rows(session),
        "entries_per_row": _entries_per_row(session),
        "steps_per_epoch": len(session.train_data),
        "variants": {
            name: {
                "step": of_steps[name].seconds,
                "evaluation": of_evaluations[name].seconds,
                "step_ratio": common.time_by_rounds(of_steps, name, WITHOUT, "cpu"),
                "step_ratio_wall": common.time_by_rounds(of_steps, name, WITHOUT, "wall"),
                "evaluation_ratio": common.time_by_rounds(of_evaluations, name, WITHOUT, "cpu"),
                "evaluation_ratio_wall": common.time_by_rounds(
                    of_evaluations, name, WITHOUT, "wall"
                ),
            }
            for name in sessions
        },
    }


def _requests(session: Any) -> Any:
    return next(iter(session.train_data)).arranged.requests


def _rows(session: Any) -> int:
    return len(_requests(session).lengths)


@torch.no_grad()
def _entries_per_row(session: Any) -> float:
    """Entries that the memory adds to a row of a training batch, on average."""
    requests = _requests(session)
    runs = session.model.scorer.memory.runs(requests.last_items, requests.moments)
    n_entries = sum(int((part.ends - part.begins).sum()) for part in runs)
    return n_entries / len(requests.lengths)


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--data_path", type=Path, help="folder above the data set's folder")
    parser.add_argument("--dataset", help="name of the data set in it")
    parser.add_argument("--settings", type=Path, help="YAML file of settings for the run")
    parser.add_argument("--model", default="Momento", help="any packed model")
    parser.add_argument("--memory_events", type=int, default=400)
    options = parser.parse_args()
    if (options.data_path is None) != (options.dataset is None):
        parser.error("--data_path and --dataset go together")
    common.start(options)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    rows = [
        [
            name,
            1e3 * row["step"]["cpu_median"],
            row["step_ratio"],
            row["evaluation"]["cpu_median"],
            row["evaluation_ratio"],
        ]
        for name, row in results["variants"].items()
    ]
    common.print_table(["", "step CPU ms", "ratio", "evaluation CPU s", "ratio"], rows)
    print(
        f"{results['model']} on {results['dataset']}: {results['rows_per_step']} rows a step, "
        f"{results['entries_per_row']:,.0f} entries of the memory a row"
    )
    common.write_results(options, results)


if __name__ == "__main__":
    main()
