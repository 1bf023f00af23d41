"""All benchmarks that a GPU can run, one after the other, and their rows for results/speed.

    python benchmarks/on_device.py

Writes ``results/speed/<name of the GPU>/<benchmark>.json`` and prints every table.

About ten minutes.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import _common as common
import torch

# Script and its options: a GPU's steps are short, so more of them are timed than on a CPU.
RUNS = {
    "train_step": ["--repeats=31", "--epochs=3"],
    "evaluation": ["--repeats=5"],
    "softmax": ["--repeats=11"],
    "softmax-1000000": ["--repeats=5", "--items=1000000"],
}


def main() -> None:
    """Run everything that the machine has a device for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=common.SHAPES, default="games", help="size of the data")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: torch must see a CUDA device, got none; run the benchmarks one by one")
    name = re.sub(r"[^A-Za-z0-9]+", "-", torch.cuda.get_device_name())
    folder = common.HERE.parent / "results" / "speed" / name
    folder.mkdir(parents=True, exist_ok=True)
    failed = [run for run, words in RUNS.items() if not _run(run, words, options.shape, folder)]
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; see above")


def _run(run: str, words: list[str], shape: str, folder: Path) -> bool:
    script = common.HERE / f"{run.split('-')[0]}.py"
    command = [sys.executable, str(script), "--device=cuda", f"--shape={shape}", *words]
    print(f"\n$ {' '.join(['python', script.name, *command[2:]])}", flush=True)
    return subprocess.run([*command, f"--out={folder / run}.json"], check=False).returncode == 0


if __name__ == "__main__":
    main()
