"""What the benchmarks share: generated data, alternate timing, results with the machine's facts."""

import argparse
import dataclasses
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from recbole_hm4sr.base import compat
from recbole_hm4sr.base import process_memory as memory
from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.model.registry import MODELS, find_model
from recbole_hm4sr.run.parts import RunParts, build_parts
from recbole_hm4sr.run.plan import compose

HERE = Path(__file__).resolve().parent
DATASET = "generated"
DAY = 86400
MIN_HISTORY = 5
HISTORY_SPREAD = 1.3  # deviation of the logarithm of what a history has beyond the shortest


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a generated data set is.

    Attributes:
        users: Users, each with at least five interactions.
        items: Items, each taken at least once.
        interactions: Interactions of all users.
        categories: Category names.
        feature_size: Width of each modality's features.
        modalities: Names of the modalities.
    """

    users: int
    items: int
    interactions: int
    categories: int = 300
    feature_size: int = 768
    modalities: tuple[str, ...] = ("text", "image")


SHAPES = {
    "games": Shape(24_303, 10_672, 231_780),
    "sports": Shape(35_598, 18_357, 296_337),
    "tiny": Shape(300, 200, 3_000, categories=20, feature_size=16),
}


# --- options ------------------------------------------------------------------------------------


def option_parser(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Options that every benchmark has; keyword arguments replace their defaults."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="games", help="size of the data")
    parser.add_argument("--users", type=int, help="in place of the shape's number of users")
    parser.add_argument("--items", type=int, help="in place of the shape's number of items")
    parser.add_argument("--interactions", type=int, help="in place of the shape's number")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=15, help="times each thing is timed")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--out", type=Path, help="JSON file; default results/<script>.json")
    parser.set_defaults(**defaults)
    return parser


def shape_of(options: argparse.Namespace) -> Shape:
    """The shape that the options ask for."""
    asked = {name: getattr(options, name) for name in ("users", "items", "interactions")}
    given = {name: value for name, value in asked.items() if value is not None}
    return dataclasses.replace(SHAPES[options.shape], **given)


def start(options: argparse.Namespace) -> None:
    """Set threads and seed, and keep RecBole from slowing every backward pass down."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    compat.import_recbole_models()
    assert not torch.is_anomaly_enabled()


# --- data ---------------------------------------------------------------------------------------


def draw_interactions(shape: Shape, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histories with a long tail, items by a power law, times from minutes to years apart.

    Returns:
        Users, items and times of all interactions, user after user, oldest first.
    """
    random = np.random.default_rng(seed)
    weights = random.lognormal(sigma=HISTORY_SPREAD, size=shape.users)
    beyond = shape.interactions - MIN_HISTORY * shape.users
    lengths = MIN_HISTORY + random.multinomial(beyond, weights / weights.sum())
    users = np.repeat(np.arange(shape.users), lengths)
    popularity = 1 / (np.arange(shape.items) + 20.0)
    bounds = np.cumsum(popularity / popularity.sum())
    items = np.searchsorted(bounds, random.random(shape.interactions)).clip(max=shape.items - 1)
    places = random.choice(shape.interactions, shape.items, replace=False)
    items[places] = np.arange(shape.items)
    gaps = random.lognormal(mean=np.log(7 * DAY), sigma=2.5, size=shape.interactions)
    ends = np.cumsum(gaps.clip(max=1000 * DAY).astype(np.int64))
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return users, items, 1_300_000_000 + ends - ends[firsts]


def write_dataset(folder: Path, shape: Shape, seed: int) -> Path:
    """Write a generated data set as atomic files and feature archives.

    Returns:
        The folder above it, for ``--data_path``.
    """
    target = folder / DATASET
    target.mkdir(parents=True)
    random = np.random.default_rng(seed + 1)
    users, items, times = draw_interactions(shape, seed)
    rows = (f"u{u}\ti{i}\t{t}" for u, i, t in zip(users, items, times, strict=True))
    header = "user_id:token\titem_id:token\ttimestamp:float"
    _write_lines(target / f"{DATASET}.inter", header, rows)
    names = random.integers(shape.categories, size=(shape.items, 3))
    prices = np.random.default_rng(seed).integers(1, 101, size=shape.items)
    rows = (
        f"i{item}\t{' '.join(f'c{c}' for c in row)}\t{price}"
        for item, (row, price) in enumerate(zip(names, prices, strict=True))
    )
    header = "item_id:token\tcategories:token_seq\tprice:float"
    _write_lines(target / f"{DATASET}.item", header, rows)
    tokens = np.array([f"i{item}" for item in range(shape.items)])
    for name in shape.modalities:
        values = random.standard_normal((shape.items, shape.feature_size), dtype=np.float32)
        features = ItemFeatures(tokens, values, "generated", str(seed), name)
        save_features(target / f"{DATASET}.{name}.npz", features)
    settings = {
        "modalities": dict.fromkeys(shape.modalities, "npz"),
        "category_field": "categories",
        "generated": True,
    }
    (target / f"{DATASET}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def _write_lines(path: Path, header: str, rows: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(header + "\n")
        file.writelines(row + "\n" for row in rows)


def make_session(
    model: str,
    data_path: Path,
    run_dir: Path,
    *,
    dataset: str = DATASET,
    config_files: Sequence[Path] = (),
    device: str = "cpu",
    **overrides: Any,
) -> RunParts:
    """Data, model and trainer of one run, as the command would build them."""
    entry = find_model(model)
    settings = {"data_path": str(data_path), "use_gpu": device == "cuda", **overrides}
    if model not in MODELS:  # RecBole's read no features
        settings["modalities"] = {}
    plan = compose(
        entry,
        dataset,
        config_files=config_files,
        overrides=settings,
    )
    return build_parts(plan, run_dir)


def repeat_batches(loader: Any) -> Iterator[Any]:
    """Batches without end: epoch after epoch."""
    while True:
        yield from loader


# --- timing -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Timing:
    """Seconds of each repetition: by the clock, and of the CPU by this process alone."""

    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """Medians, and the quartiles of the CPU's seconds."""
        low, _, high = statistics.quantiles(self.cpu, n=4) if len(self.cpu) > 1 else self.cpu * 3
        return {
            "wall_median": statistics.median(self.wall),
            "cpu_median": statistics.median(self.cpu),
            "cpu_quartiles": [low, high],
            "repeats": len(self.wall),
        }


def time_alternately(
    things: Mapping[str, Callable[[], Any]], *, repeats: int, warmup: int = 2, device: str = "cpu"
) -> dict[str, Timing]:
    """Time everything in turn, round after round, so that all meet the same machine.

    Args:
        things: What to call, by name.
        repeats: Rounds that count.
        warmup: Rounds before them that do not.
        device: Where they run: a GPU's work is waited for.
    """
    timings = {name: Timing() for name in things}
    for number in range(warmup + repeats):
        for name, call in things.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            wait_for(device)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if number >= warmup:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
    return timings


def wait_for(device: str) -> None:
    """Until everything started on a device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def time_by_rounds(timings: Mapping[str, Timing], name: str, base: str, clock: str) -> float:
    """The median over the rounds of one thing's time as a share of another's."""
    pairs = zip(getattr(timings[name], clock), getattr(timings[base], clock), strict=True)
    return statistics.median(one / other for one, other in pairs)


def peak_memory_mb() -> float:
    """Peak memory of this process so far; of the GPU's allocator if it was used."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would start at the peak of the process that started this one
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
        if found:
            return int(found.group(1)) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_alone(script: str, *words: str, as_our_command: bool = False) -> dict[str, Any]:
    """Call a benchmark in a process of its own; returns the JSON in its last line.

    Args:
        script: Its file name.
        words: Its arguments.
        as_our_command: Start it with the C library's settings that the command ``hm4sr`` has.
    """
    command = [sys.executable, str(HERE / script), *words]
    environment = dict(os.environ)
    if as_our_command:
        environment[memory.VARIABLE] = memory.SETTING
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- results ------------------------------------------------------------------------------------


def print_table(headers: list[str], rows: list[list[Any]]) -> None:
    """Columns of text, numbers on the right."""
    cells = [headers, *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for number, row in enumerate(cells):
        first, *rest = (value for value in row)
        line = [first.ljust(widths[0])]
        line += [v.rjust(w) for v, w in zip(rest, widths[1:], strict=True)]
        print("  ".join(line).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def write_results(options: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Write the results beside what made them: command, commit, machine."""
    name = Path(sys.argv[0]).stem
    path = options.out or HERE / "results" / f"{name}.json"
    asked = {
        key: value.name if isinstance(value, Path) else value  # no path of the machine
        for key, value in vars(options).items()
        if key != "out"
    }
    record = {"benchmark": name, "options": asked, "machine": machine_facts(), **results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {path}")


def machine_facts() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "recbole", "numpy", "pandas")},
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found.group(1) if found else platform.processor()


def _commit() -> str | None:
    """The checkout's commit; with ``+`` if it has uncommitted changes."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
