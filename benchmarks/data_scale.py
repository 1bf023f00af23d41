"""Loading a large data set: seconds and memory of each stage, and the time of a batch of windows.

Each side is measured in a process of its own, since peak memory never falls. The rows of the file
are in the order of time, as a log has them. Features are float16 in uncompressed archives, which
are mapped: pages of them that were read count as memory of the process, but they are the file's,
so both kinds are reported. RecBole's own ``SequentialDataset`` writes every prefix padded to L, so
it is given shares of the data that it survives (``--recbole-shares``), and no features.
"""

import argparse
import contextlib
import dataclasses
import json
import re
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_hm4sr.data.loaders import make_loaders
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.run.plan import compose

USERS, ITEMS, INTERACTIONS = 2_000_000, 500_000, 20_000_000
RECBOLE_SHARES = (0.01, 0.025, 0.1)
N_BATCHES = 100
ROWS_AT_A_TIME = 10_000
LINES_AT_A_TIME = 500_000


# --- data ---------------------------------------------------------------------------------------


def write_large_dataset(folder: Path, shape: common.Shape, seed: int) -> None:
    """Write a log in the order of time and float16 archives, never holding all features."""
    target = folder / common.DATASET
    target.mkdir(parents=True)
    _write_interactions(target / f"{common.DATASET}.inter", shape, seed)
    modalities = json.dumps(dict.fromkeys(shape.modalities, "npz"))  # also YAML
    settings = f"modalities: {modalities}\ngenerated: true\n"
    (target / f"{common.DATASET}.yaml").write_text(settings, encoding="utf-8")
    tokens = np.array([f"i{item}" for item in range(shape.items)])
    for name in shape.modalities:
        values = target / "values.npy"
        _write_values(values, shape, seed)
        with zipfile.ZipFile(target / f"{common.DATASET}.{name}.npz", "w") as archive:
            archive.write(values, "values.npy")
            parts = {"tokens": tokens, "encoder": np.array("generated"), "revision": np.array("1")}
            for part, array in parts.items():
                with archive.open(f"{part}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        values.unlink()


def find_large_dataset(folder: Path, shape: common.Shape, seed: int) -> Path:
    """The folder above a data set of this shape, which is written unless it is there."""
    data_path = folder / f"{shape.interactions}-{len(shape.modalities)}-{seed}"
    if not data_path.is_dir():  # whole, since a folder is renamed when it is
        began = time.perf_counter()
        write_large_dataset(data_path.with_suffix(".new"), shape, seed)
        data_path.with_suffix(".new").rename(data_path)
        print(f"{data_path.name}: written in {time.perf_counter() - began:.0f} s", flush=True)
    return data_path


def _write_interactions(path: Path, shape: common.Shape, seed: int) -> None:
    users, items, times = common.draw_interactions(shape, seed)
    order = np.argsort(times, kind="stable")
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for begin in range(0, len(order), LINES_AT_A_TIME):
            part = order[begin : begin + LINES_AT_A_TIME]
            rows = zip(
                users[part].tolist(), items[part].tolist(), times[part].tolist(), strict=True
            )
            file.writelines(f"u{user}\ti{item}\t{time}\n" for user, item, time in rows)


def _write_values(path: Path, shape: common.Shape, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = (shape.items, shape.feature_size)
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=size)
    for begin in range(0, shape.items, ROWS_AT_A_TIME):
        part = values[begin : begin + ROWS_AT_A_TIME]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
    values.flush()


# --- measuring ----------------------------------------------------------------------------------


def memory_mb() -> dict[str, float]:
    """Memory of this process now, its own and that of mapped files, and the peak of their sum."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {
            "own_mb": float("nan"),
            "files_mb": float("nan"),
            "peak_mb": common.peak_memory_mb(),
        }
    kilobytes = dict(re.findall(r"(\w+):\s*(\d+) kB", status.read_text(encoding="utf-8")))
    own, files, peak = (int(kilobytes[name]) / 2**10 for name in ("RssAnon", "RssFile", "VmHWM"))
    return {"own_mb": own, "files_mb": files, "peak_mb": peak}


class Stages:
    """Seconds and memory of each stage of this process."""

    def __init__(self) -> None:
        self.rows = {"start": {"seconds": 0.0, "cpu_seconds": 0.0, **memory_mb()}}

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Do one stage and keep its numbers."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.rows[name] = {"seconds": wall, "cpu_seconds": cpu, **memory_mb()}
        return result


def load(data_path: Path, *, with_recbole: bool) -> dict[str, Any]:
    """Load a data set stage by stage, in this process."""
    stages = Stages()
    overrides: dict[str, Any] = {"data_path": str(data_path), "use_gpu": False}
    if with_recbole:
        overrides["modalities"] = {}
    config = compose("SASRec", common.DATASET, overrides=overrides).to_recbole()
    dataset_class = SequentialDataset if with_recbole else MultiModalSequentialDataset
    dataset = stages.run("read and number", lambda: dataset_class(config))
    # As a run of each makes them.
    if with_recbole:
        train, _, test = stages.run("split and loaders", lambda: data_preparation(config, dataset))
    else:
        train, _, test = stages.run(
            "split and loaders", lambda: make_loaders(config, dataset, dataset.build())
        )
    if not with_recbole:
        for name in dataset.modality_names:
            stages.run(f"{name} features", lambda name=name: dataset.modality(name))
        stages.run("fingerprints", dataset.fingerprints)
    batches = {}
    for name, loader in (("training", train), ("test", test)):
        iterator = iter(loader)
        stages.run(f"first {name} batch", lambda iterator=iterator: next(iterator))
        batches[name] = time_batches(iterator)
    return {"stages": stages.rows, "batches": batches}


def time_batches(batches: Any) -> dict[str, float | None]:
    """Milliseconds of a batch, the first apart: medians by the clock and of the CPU."""
    walls, cpus = [], []
    for _ in range(N_BATCHES):
        wall, cpu = time.perf_counter(), time.process_time()
        if next(batches, None) is None:
            break
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    wall, cpu = (1000 * statistics.median(times) if times else None for times in (walls, cpus))
    return {"batches": len(walls), "wall_ms": wall, "cpu_ms": cpu}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load the whole with this package and shares of it with RecBole."""
    whole = dataclasses.replace(
        common.shape_of(options),
        users=options.users or USERS,
        items=options.items or ITEMS,
        interactions=options.interactions or INTERACTIONS,
    )
    loads = [("ours", whole, [])]
    for share in options.recbole_shares:
        sizes = {
            name: max(1, int(getattr(whole, name) * share))
            for name in ("users", "items", "interactions")
        }
        small = dataclasses.replace(whole, modalities=(), **sizes)
        loads.append((f"RecBole, {share:g} of it", small, ["--with-recbole"]))
    results = {}
    for name, shape, flag in loads:
        data_path = find_large_dataset(folder, shape, options.seed)
        words = ["--load", str(data_path), "--threads", str(options.threads), *flag]
        loaded = common.run_alone("data_scale.py", *words)
        results[name] = {"shape": dataclasses.asdict(shape), **loaded}
        report(name, results[name])
    return results


def report(name: str, result: dict[str, Any]) -> None:
    """Print one side's tables."""
    shape = result["shape"]
    sizes = ", ".join(f"{shape[part]:,} {part}" for part in ("interactions", "users", "items"))
    print(f"\n{name}: {sizes}, {len(shape['modalities'])} modalities")
    rows = [[stage, *values.values()] for stage, values in result["stages"].items()]
    common.print_table(
        ["stage", "seconds", "CPU s", "own MB", "of files MB", "peak MB so far"], rows
    )
    rows = [[f"{name} batch", *values.values()] for name, values in result["batches"].items()]
    common.print_table(["", "batches", "ms", "CPU ms"], rows)
    print(flush=True)


def extrapolate(results: dict[str, Any], interactions: int) -> dict[str, Any] | None:
    """What RecBole would need for more interactions, on the line through its two largest loads.

    Memory and time of its augmentation grow with the samples, so a line is its own law.
    """
    points = []
    for result in results.values():
        if "modalities" in result["shape"] and not result["shape"]["modalities"]:
            rows = list(result["stages"].values())
            seconds = sum(row["cpu_seconds"] for row in rows[:3])
            points.append((result["shape"]["interactions"], seconds, rows[2]["peak_mb"]))
    if len(points) < 2 or max(points)[0] >= interactions:
        return None  # not known, or measured
    (small, *low), (large, *high) = sorted(points)[-2:]
    steps = (interactions - large) / (large - small)
    seconds, peak = (
        high_value + steps * (high_value - low_value)
        for low_value, high_value in zip(low, high, strict=True)
    )
    return {
        "interactions": interactions,
        "cpu_seconds": seconds,
        "peak_mb": peak,
        "measured": sorted(points)[-2:],
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument(
        "--recbole-shares", type=float, nargs="*", default=RECBOLE_SHARES, help="parts it loads"
    )
    parser.add_argument("--folder", type=Path, help="where the data stay for a next time")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--with-recbole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    common.start(options)
    if options.load:
        print(json.dumps(load(options.load, with_recbole=options.with_recbole)))
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        results = measure(options, folder)
    tenth = results["ours"]["shape"]["interactions"] // 10
    more = extrapolate(results, tenth)
    if more:
        print(
            f"RecBole at {tenth:,} interactions, EXTRAPOLATED on the line through its two largest "
            f"loads: {more['cpu_seconds']:,.0f} CPU s, peak {more['peak_mb']:,.0f} MB"
        )
    common.write_results(options, {"loads": results, "extrapolated": more})


if __name__ == "__main__":
    main()
