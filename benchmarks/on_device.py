"""All benchmarks that a GPU can run, one after the other, and their rows for results/speed.

    python -m pytest -m gpu tests/gpu && python benchmarks/on_device.py

Writes ``results/speed/<name of the GPU>/<benchmark>.json`` and prints every table. ``--quick``
times fewer steps of fewer rows. ``--rehearse`` runs everything once on the CPU with tiny data and
keeps nothing.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import _common as common
import torch

# Script and its options: a GPU's steps are short, so more of them are timed than on a CPU.
RUNS = {
    "launches": ["--repeats=8"],
    "train_step": ["--repeats=31", "--epochs=3"],
    "evaluation": ["--repeats=5"],
    "shapes": ["--repeats=5"],
    "shapes-graphs": ["--repeats=5", "--mode=reduce-overhead"],
    "softmax": ["--repeats=11"],
    "softmax-1000000": ["--repeats=5", "--items=1000000"],
}
# What a first look needs: launches, a step, and what recurring shapes and graphs change.
QUICK = {
    "launches": ["--repeats=3", "--only=HM4SR sequence"],
    "train_step": ["--repeats=7", "--epochs=1", "--no-memory", "--only=HM4SR sequence"],
    "shapes": ["--repeats=2"],
    "shapes-graphs": ["--repeats=2", "--mode=reduce-overhead"],
}


def main() -> None:
    """Run everything that the machine has a device for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=common.SHAPES, default="games", help="size of the data")
    parser.add_argument("--quick", action="store_true", help="fewer rows, fewer steps")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU, nothing is kept")
    options = parser.parse_args()
    if options.rehearse:
        rehearse()
        return
    if not torch.cuda.is_available():
        sys.exit("error: torch must see a CUDA device, got none; run the benchmarks one by one")
    name = re.sub(r"[^A-Za-z0-9]+", "-", torch.cuda.get_device_name())
    folder = common.HERE.parent / "results" / "speed" / name
    folder.mkdir(parents=True, exist_ok=True)
    _run_all(
        QUICK if options.quick else RUNS, ["--device=cuda", f"--shape={options.shape}"], folder
    )


def rehearse() -> None:
    """Run every script as a GPU would, where there is none."""
    runs = ("launches", "train_step", "evaluation", "shapes", "softmax")
    tiny = {run: ["--repeats=1"] for run in runs}
    tiny["launches"].append("--only=HM4SR sequence rounded")
    tiny["shapes"] += ["--no-compile", "--batches=2"]
    tiny["train_step"] += ["--no-memory", "--only=HM4SR sequence sampled"]
    tiny["softmax"].append("--items=1000")
    with tempfile.TemporaryDirectory() as folder:
        _run_all(tiny, ["--device=cpu", "--shape=tiny"], Path(folder))


def _run_all(runs: dict[str, list[str]], shared: list[str], folder: Path) -> None:
    failed = [run for run, words in runs.items() if not _run(run, [*shared, *words], folder)]
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; see above")


def _run(run: str, words: list[str], folder: Path) -> bool:
    script = common.HERE / f"{run.split('-')[0]}.py"
    command = [sys.executable, str(script), *words]
    print(f"\n$ {' '.join(['python', script.name, *command[2:]])}", flush=True)
    return subprocess.run([*command, f"--out={folder / run}.json"], check=False).returncode == 0


if __name__ == "__main__":
    main()
