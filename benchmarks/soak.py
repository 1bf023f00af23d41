"""Hours of comparisons and runs in one process: does memory grow, do file descriptors stay open?

Round after round, until the time is up: ``hm4sr compare`` on the sample (a process a run, as
always), then the same models by ``quick_start.run`` in this process, where a leak of the library
stays. At rest, after each of them, this process is looked at: resident memory, what is left of it
when the C library has given back what was freed (a leak shows there), open file descriptors,
threads, child processes. While they run, the largest memory of the children is kept.
All of it is a line of ``samples.jsonl`` at once, so a soak that is cut short has its figures too;
``--report FOLDER`` makes the table again without running anything.
"""

import argparse
import contextlib
import ctypes
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import psutil

from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.run.quick_start import run

MB = 2**20
WARM_UP_SECONDS = 600  # imports, caches and the allocator's pools fill in the first minutes
BLOCK_SECONDS = 300  # neighbouring samples are alike: the slope is of the medians of blocks
COLUMNS = {
    "rss_mb": "resident MB",
    "held_mb": "held MB",
    "fds": "file descriptors",
    "threads": "threads",
}


class Watch:
    """Writes what this process holds, a line a look; between looks it watches the children.

    Args:
        path: The JSON lines file.
        every: Seconds between looks at the children.
    """

    def __init__(self, path: Path, every: float) -> None:
        self._process, self._path, self._every = psutil.Process(), path, every
        self._began = time.time()
        self._child_mb, self._child_fds = 0.0, 0

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.time() - self._began

    def look(self, after: str, number: int) -> dict[str, Any]:
        """Write what the process holds at rest, and the most that a child held before."""
        sample = {
            "time": time.time(),
            "seconds": self.seconds,
            "after": after,
            "round": number,
            "rss_mb": self._process.memory_info().rss / MB,
            "held_mb": self._held_mb(),
            "fds": self._process.num_fds(),
            "threads": self._process.num_threads(),
            "children": len(self._process.children(recursive=True)),
            "child_rss_mb": self._child_mb or None,
            "child_fds": self._child_fds or None,
        }
        self._child_mb, self._child_fds = 0.0, 0
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(sample) + "\n")
        return sample

    def _held_mb(self) -> float:
        """Resident memory without what the C library keeps of what was freed, where it can tell."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        return self._process.memory_info().rss / MB

    @contextlib.contextmanager
    def children(self) -> Iterator[None]:
        """Watch the child processes while the body runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self._watch_children, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch_children(self, stop: threading.Event) -> None:
        while not stop.wait(self._every):
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self._child_mb = max(self._child_mb, child.memory_info().rss / MB)
                    self._child_fds = max(self._child_fds, child.num_fds())


def soak(options: argparse.Namespace) -> None:
    """Run rounds until the time is up."""
    folder = options.out
    folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(folder / "samples.jsonl", options.every)
    settings = {"epochs": options.epochs, "n_threads": options.threads, "use_gpu": False}
    number = 0
    watch.look("start", number)
    while watch.seconds < options.minutes * 60:
        number += 1
        _compare(options, settings, folder / "compare", watch)
        _say(watch.look("compare", number))
        for model in options.models:
            run_dir = folder / "run"
            overrides = {**settings, "seed": number}
            run(model, options.dataset, overrides=overrides, run_dir=run_dir)
            shutil.rmtree(run_dir)
            _say(watch.look(model, number))


def _compare(
    options: argparse.Namespace, settings: dict[str, Any], folder: Path, watch: Watch
) -> None:
    flags = {
        "datasets": [options.dataset],
        "models": list(options.models),
        "seeds": [1],
        "baselines": [],
        "settings": settings,
    }
    with watch.children():
        summaries = compare_grid(None, flags, out=folder, jobs=1)
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    failed = [line for line in lines if json.loads(line)["status"] != "done"]
    if failed or not summaries:
        raise RuntimeError(f"a run of the comparison has failed: {failed}")
    shutil.rmtree(folder)


def _say(sample: dict[str, Any]) -> None:
    print(
        f"{sample['seconds'] / 60:7.1f} min  round {sample['round']:>4}  {sample['after']:<10}"
        f"  {sample['rss_mb']:8.1f} MB  {sample['fds']:>3} fds  {sample['threads']:>3} threads"
        f"  {sample['children']} children",
        flush=True,
    )


# --- figures ------------------------------------------------------------------------------------


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The looks so far; a line that a crash has cut is left out."""
    samples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            samples.append(json.loads(line))
    return samples


def slope_an_hour(seconds: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Least squares over the medians of five-minute blocks: the slope an hour, its standard error.

    Args:
        seconds: When each value was seen.
        values: As many values.

    Returns:
        Slope and standard error; NaN with fewer than three blocks.
    """
    times, heights = np.asarray(seconds, dtype=float), np.asarray(values, dtype=float)
    blocks = times // BLOCK_SECONDS
    chosen = [blocks == block for block in np.unique(blocks)]
    if len(chosen) < 3:
        return float("nan"), float("nan")
    x = np.array([np.median(times[block]) / 3600 for block in chosen])
    y = np.array([np.median(heights[block]) for block in chosen])
    spread = ((x - x.mean()) ** 2).sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread
    left = y - y.mean() - slope * (x - x.mean())
    return float(slope), float(np.sqrt((left**2).sum() / (len(x) - 2) / spread))


def report(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the table of a soak; returns its numbers."""
    rest = [s for s in samples if s["seconds"] >= WARM_UP_SECONDS]
    if not rest:
        print(f"no sample after the first {WARM_UP_SECONDS // 60} minutes")
        return {}
    middle = samples[-1]["seconds"] / 2
    parts = {
        "first half": [s for s in rest if s["seconds"] < middle],
        "second half": [s for s in rest if s["seconds"] >= middle],
    }
    rows, numbers = [], {}
    for name, title in COLUMNS.items():
        if name not in samples[0]:
            continue
        medians = [_median(part, name) for part in parts.values()]
        late = [s for s in samples if s["seconds"] >= middle]
        slopes = [
            slope_an_hour([s["seconds"] for s in p], [s[name] for s in p]) for p in (rest, late)
        ]
        largest = max(s[name] for s in rest)
        rows.append([title, *medians, largest, *(f"{a:.2f} ± {b:.2f}" for a, b in slopes)])
        numbers[name] = {"medians": medians, "max": largest, "slopes_an_hour": slopes}
    for name, title in (("child_rss_mb", "largest child MB"), ("child_fds", "its descriptors")):
        medians = [_median(part, name) for part in parts.values()]
        rows.append([title, *medians, max((s[name] or 0) for s in rest), "", ""])
        numbers[name] = {"medians": medians}
    titles = ["at rest", *parts, "largest", "slope/h, all", "slope/h, second half"]
    common.print_table(titles, rows)
    left = max(s["children"] for s in samples)
    print(
        f"{samples[-1]['seconds'] / 60:.1f} minutes, {samples[-1]['round']} rounds, "
        f"{len(samples)} looks, at most {left} child processes left at rest; the first "
        f"{WARM_UP_SECONDS // 60} minutes are left out of the table"
    )
    return {"figures": numbers, "children_left": left, "rounds": samples[-1]["round"]}


def _median(samples: list[dict[str, Any]], name: str) -> float:
    values = [s[name] for s in samples if s[name] is not None]
    return float(np.median(values)) if values else float("nan")


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--dataset", default="sports")
    parser.add_argument("--models", type=lambda text: text.split(","), default=["HM4SR", "SASRec"])
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each run")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--every", type=float, default=1, help="seconds between looks at children")
    parser.add_argument("--out", type=Path, default=Path("runs/soak"), help="folder to write")
    parser.add_argument("--report", type=Path, help="folder of a soak: only print its table")
    options = parser.parse_args()
    if options.report is None:
        soak(options)
    folder = options.report or options.out
    figures = report(read_samples(folder / "samples.jsonl"))
    options.out = folder / "soak.json"
    common.write_results(options, figures)


if __name__ == "__main__":
    main()
