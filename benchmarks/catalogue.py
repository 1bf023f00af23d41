"""Memory and time of a training step by the size of the catalogue, measured beside the formula.

    python benchmarks/catalogue.py --sizes 100000 300000

A process of its own for each size: its memory with data and model built, the peak of two steps
(the second has the optimiser's states), and the bytes that ``bytes_per_item`` says.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import torch

FLOAT = 4
SETTINGS = {"MAX_ITEM_LIST_LENGTH": 20, "category_prediction_weight": 0.0}


def bytes_per_item(*, hidden_size: int, feature_sizes: Sequence[int]) -> dict[str, int]:
    """What each item of the catalogue takes in float32 while HM4SR trains.

    Args:
        hidden_size: D.
        feature_sizes: Width of each modality.

    Returns:
        Bytes of each part: ``weights``, ``gradient`` and ``adam`` of the id embedding, the frozen
        ``features``, the projected ``catalogue`` of all streams, and its gradient with what
        computes it (``catalogue_gradient``). Several processes take no more: their gradients lie in
        the buckets of ``DistributedDataParallel``.
    """
    streams = 1 + len(feature_sizes)
    return {
        "weights": FLOAT * hidden_size,
        "gradient": FLOAT * hidden_size,
        "adam": 2 * FLOAT * hidden_size,
        "features": FLOAT * sum(feature_sizes),
        "catalogue": FLOAT * streams * hidden_size,
        "catalogue_gradient": FLOAT * 2 * streams * hidden_size,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One size, in this process."""
    common.start(options)
    shape = dataclasses.replace(
        common.shape_of(options), categories=20, feature_size=options.feature_size
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = common.write_dataset(folder, shape, options.seed)
        session = common.make_session(
            "HM4SR",
            data,
            folder / "run",
            train_batch_size=options.batch_size,
            n_negatives=options.n_negatives,
            **SETTINGS,
        )
        before = _memory_now_mb()
        seconds = [_step(session) for _ in range(options.repeats)]
        peak = common.peak_memory_mb()
    model = session.model
    parts = bytes_per_item(
        hidden_size=model.settings.hidden_size,
        feature_sizes=[options.feature_size] * len(shape.modalities),
    )
    # Weights and features are there before the first step.
    later = sum(size for part, size in parts.items() if part not in ("weights", "features"))
    return {
        "items": model.n_items,
        "before_mb": before,
        "peak_mb": peak,
        "growth_mb": peak - before,
        "computed_growth_mb": model.n_items * later / 2**20,
        "bytes_per_item": parts,
        "step_cpu_seconds": seconds,
    }


def _step(session: Any) -> float:
    """CPU seconds of a training step."""
    trainer, began = session.trainer, time.process_time()
    batch = next(iter(session.train_data))
    trainer.optimizer.zero_grad(set_to_none=True)
    session.model.train()
    torch.stack(list(session.model.named_losses(batch).values())).sum().backward()
    trainer.optimizer.step()
    return time.process_time() - began


def _memory_now_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Measure each size alone, then print and write the table."""
    parser = common.option_parser(__doc__, repeats=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--feature_size", type=int, default=64, help="width of each modality")
    parser.add_argument("--batch_size", type=int, default=256, help="targets a step")
    parser.add_argument("--n_negatives", type=int, default=0, help="size of a sampled softmax")
    parser.add_argument("--alone", action="store_true", help="measure --items in this process")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options)))
        return
    rows = []
    for size in options.sizes:
        words = ["--alone", "--items", size, "--users", size // 10, "--interactions", size * 6 // 5]
        words = [*words, "--feature_size", options.feature_size, "--repeats", options.repeats]
        words = [*words, "--batch_size", options.batch_size, "--threads", options.threads]
        words = [*words, "--n_negatives", options.n_negatives]
        rows.append(common.run_alone(Path(sys.argv[0]).name, *map(str, words)))
    table = ["items", "before_mb", "peak_mb", "growth_mb", "computed_growth_mb"]
    common.print_table(
        [*table, "step CPU s"],
        [[*(row[name] for name in table), row["step_cpu_seconds"][-1]] for row in rows],
    )
    common.write_results(options, {"sizes": rows})


if __name__ == "__main__":
    main()
