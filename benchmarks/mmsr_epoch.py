"""One MMSR training epoch against its softmax alone.

The softmax over the catalogue cannot be left out: scores of ``[1024, 128] x [128, items]``, their
cross-entropy, both gradients, and Adam on the table. What MMSR does besides should cost at most
half of it. Steps of both are timed in turn; an epoch is a step times its steps.

``--data_path`` and ``--dataset`` name real data in atomic files; else data of ``--shape`` is made.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import torch
import torch.nn.functional as F
from train_step import make_step

SOFTMAX, MODEL = "softmax alone", "MMSR"


def softmax_step(n_items: int, batch_size: int, hidden_size: int) -> Callable[[], None]:
    """A step of nothing but scores, cross-entropy, gradients and Adam on the item table."""
    table = torch.nn.Parameter(0.02 * torch.randn(n_items, hidden_size))
    users = torch.randn(batch_size, hidden_size, requires_grad=True)
    targets = torch.randint(n_items, (batch_size,))
    optimizer = torch.optim.Adam([table], lr=1e-3, fused=True)  # as the trainer does

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        users.grad = None
        F.cross_entropy(users @ table.T, targets).backward()
        optimizer.step()

    return step


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time steps of both in turn."""
    data_path, dataset = options.data_path, options.dataset
    if data_path is None:
        shape = common.shape_of(options)
        data_path = common.write_dataset(folder / "data", shape, options.seed)
        dataset = common.DATASET
    settings = {} if options.settings is None else {"config_files": [options.settings]}
    session = common.make_session(MODEL, data_path, folder / "run", dataset=dataset, **settings)
    table = session.model.item_embedding.weight
    batch_size = session.config["train_batch_size"]
    steps = {
        SOFTMAX: softmax_step(len(table) - 1, batch_size, table.shape[1]),
        MODEL: make_step(session, n_batches=options.repeats + 2),
    }
    timings = common.time_alternately(steps, repeats=options.repeats)
    n_steps = len(session.train_data)
    return {
        "dataset": dataset,
        "items": len(table) - 1,
        "modalities": list(session.train_data._dataset.modality_names),
        "batch_size": batch_size,
        "hidden_size": table.shape[1],
        "steps_per_epoch": n_steps,
        "variants": {
            name: {
                **timings[name].seconds,
                "epoch_cpu": n_steps * timings[name].seconds["cpu_median"],
                "share": common.time_by_rounds(timings, name, SOFTMAX, "cpu"),
                "share_wall": common.time_by_rounds(timings, name, SOFTMAX, "wall"),
            }
            for name in steps
        },
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--data_path", type=Path, help="folder above the data set's folder")
    parser.add_argument("--dataset", help="name of the data set in it")
    parser.add_argument("--settings", type=Path, help="YAML file of settings for the run")
    options = parser.parse_args()
    if (options.data_path is None) != (options.dataset is None):
        parser.error("--data_path and --dataset go together")
    common.start(options)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    rows = [
        [name, 1e3 * row["wall_median"], 1e3 * row["cpu_median"], row["epoch_cpu"], row["share"]]
        for name, row in results["variants"].items()
    ]
    common.print_table(["", "step ms", "CPU ms", "epoch CPU s", "ratio"], rows)
    print(f"{results['items']:,} items, {results['steps_per_epoch']} steps an epoch")
    common.write_results(options, results)


if __name__ == "__main__":
    main()
