"""HM4SR's training step against RecBole's SASRec: time, memory, and an epoch of either mode.

Steps are timed in turn on the batches of the training loaders: RecBole's samples for SASRec and
for HM4SR with ``train_mode: prefix``, whole histories for ``train_mode: sequence``, in one visit
an epoch or in two. A step is what ``Trainer`` does: gradients to None, losses, backward, Adam (for
SASRec torch's own, as in RecBole). An epoch is a step times its steps, and with ``--epochs`` it is
trained too, batches included.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common

BASE = "SASRec"
MEMORY_STEPS = 16  # packed batches differ in size
VARIANTS: dict[str, dict[str, Any]] = {
    "SASRec": {"trim_padding": False},  # as in RecBole
    "SASRec bfloat16": {"trim_padding": False, "enable_amp": True},
    "HM4SR prefix": {"train_mode": "prefix"},
    "HM4SR prefix bfloat16": {"train_mode": "prefix", "enable_amp": True},
    "HM4SR sequence": {"passes_per_epoch": 1},
    "HM4SR sequence bfloat16": {"passes_per_epoch": 1, "enable_amp": True},
    "HM4SR sequence sampled": {"passes_per_epoch": 1, "n_negatives": 2048},
    "HM4SR sequence rounded": {"passes_per_epoch": 1, "round_tokens": 512},
    "HM4SR two visits": {"passes_per_epoch": 2},
    "HM4SR two visits bfloat16": {"passes_per_epoch": 2, "enable_amp": True},
}


def make_session(variant: str, data_path: Path, folder: Path, device: str = "cpu") -> Any:
    """The session of one variant, its random order of batches fixed."""
    run_dir = folder / variant.replace(" ", "-")
    model, settings = variant.split()[0], VARIANTS[variant]
    session = common.make_session(model, data_path, run_dir, device=device, **settings)
    if model == BASE:
        session.trainer.optimizer.param_groups[0]["fused"] = None
    return session


def make_step(session: Any, n_batches: int = 4) -> Callable[[], None]:
    """A function that trains one step, on each of some batches in turn.

    The batches are made here, before the clock runs.
    """
    model, optimizer = session.model.train(), session.trainer.optimizer
    precision, device = session.trainer.precision, session.trainer.device
    batches = common.repeat_batches(session.train_data)
    waiting = [next(batches).to(device) for _ in range(n_batches)]
    number = 0

    def step() -> None:
        nonlocal number
        batch = waiting[number % len(waiting)]
        number += 1
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()

    return step


def measure_memory(variant: str, data_path: Path, steps: int, device: str) -> None:
    """Print the peak memory of this process after some steps, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        session = make_session(variant, data_path, Path(folder), device)
        loaded = common.peak_memory_mb()
        step = make_step(session, steps)
        for _ in range(steps):
            step()
    print(json.dumps({"peak_mb": common.peak_memory_mb(), "after_loading_mb": loaded}))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time all variants in turn; memory of each in its own process."""
    shape = common.shape_of(options)
    data_path = common.write_dataset(folder / "data", shape, options.seed)
    variants = [name for name in VARIANTS if options.only in name or name == BASE]
    memory = {}
    if not options.no_memory:
        words = ["--memory-data", str(data_path), "--device", options.device]
        words += ["--threads", str(options.threads)]
        for name in variants:
            memory[name] = common.run_alone(
                "train_step.py", "--memory-of", name, *words, as_our_command=BASE not in name
            )
    device = options.device
    sessions = {name: make_session(name, data_path, folder, device) for name in variants}
    steps = {name: make_step(session) for name, session in sessions.items()}
    timings = common.time_alternately(steps, repeats=options.repeats, device=device)
    results: dict[str, Any] = {}
    for name, session in sessions.items():
        seconds = timings[name].seconds
        results[name] = {
            **seconds,
            "steps_per_epoch": len(session.train_data),
            "epoch_wall": seconds["wall_median"] * len(session.train_data),
            "step_share": common.time_by_rounds(timings, name, BASE, "cpu"),
            "step_share_wall": common.time_by_rounds(timings, name, BASE, "wall"),
            "epochs": [train_epoch(session, device) for _ in range(options.epochs)],
            **memory.get(name, {}),
        }
    for row in results.values():
        base = results[BASE]
        row["epoch_share"] = (
            row["step_share_wall"] * row["steps_per_epoch"] / base["steps_per_epoch"]
        )
        if memory:
            row["memory_share"] = row["peak_mb"] / base["peak_mb"]
    return results


def train_epoch(session: Any, device: str) -> float:
    """Seconds of one epoch as the trainer trains it."""
    began = time.perf_counter()
    session.trainer.train_epoch(session.train_data, 0)
    common.wait_for(device)
    return time.perf_counter() - began


def print_results(results: dict[str, Any]) -> None:
    """Shares are of the first row."""
    headers = ["", "step ms", "share", "CPU ms", "share", "steps", "epoch s", "1/share", "peak MB"]
    rows = [
        [
            name,
            1e3 * row["wall_median"],
            row["step_share_wall"],
            1e3 * row["cpu_median"],
            row["step_share"],
            row["steps_per_epoch"],
            min(row["epochs"], default=row["epoch_wall"]),
            1 / row["epoch_share"],
            row.get("peak_mb"),
        ]
        for name, row in results.items()
    ]
    common.print_table(headers, rows)


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--only", default="", help="time only variants whose name has this text")
    parser.add_argument("--epochs", type=int, default=0, help="epochs to train besides the steps")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--memory-data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    common.start(options)
    if options.memory_of:
        measure_memory(options.memory_of, options.memory_data, MEMORY_STEPS, options.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    print_results(results)
    common.write_results(options, {"variants": results})


if __name__ == "__main__":
    main()
