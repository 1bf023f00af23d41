"""Loading a large data set: seconds and peak memory of each stage, and the time of a batch.

Each side is measured in a process of its own, since peak memory never falls. Features are float16
in uncompressed archives, which a loader may map instead of reading; writing them takes little
memory at any size. RecBole's own ``SequentialDataset`` writes every prefix padded to L, so it is
given a hundredth of the data unless ``--recbole-share`` says otherwise.
"""

import argparse
import dataclasses
import json
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

from recbole_hm4sr.config import build_config
from recbole_hm4sr.data.dataset import MultiModalSequentialDataset
from recbole_hm4sr.registry import find_model

N_BATCHES = 20
ROWS_AT_A_TIME = 10_000


def write_large_dataset(folder: Path, shape: common.Shape, seed: int) -> None:
    """Write atomic files and uncompressed float16 archives, never holding all features."""
    common.write_dataset(folder, dataclasses.replace(shape, modalities=()), seed)
    target = folder / common.DATASET
    settings = target / f"{common.DATASET}.yaml"
    modalities = "".join(f"  {name}: npz\n" for name in shape.modalities)
    text = settings.read_text(encoding="utf-8").replace(
        "modalities: {}\n", f"modalities:\n{modalities}"
    )
    settings.write_text(text, encoding="utf-8")
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


def _write_values(path: Path, shape: common.Shape, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = (shape.items, shape.feature_size)
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=size)
    for begin in range(0, shape.items, ROWS_AT_A_TIME):
        part = values[begin : begin + ROWS_AT_A_TIME]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
    values.flush()


class Stages:
    """Seconds and peak memory after each stage of this process."""

    def __init__(self) -> None:
        self.rows = {"start": {"seconds": 0.0, "peak_mb": common.peak_memory_mb()}}

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Do one stage and keep its numbers."""
        began = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - began
        self.rows[name] = {"seconds": seconds, "peak_mb": common.peak_memory_mb()}
        return result


def load(data_path: Path, *, with_recbole: bool) -> dict[str, Any]:
    """Load a data set stage by stage, in this process."""
    stages = Stages()
    overrides: dict[str, Any] = {"data_path": str(data_path), "use_gpu": False}
    if with_recbole:
        overrides["modalities"] = {}
    entry = find_model("SASRec")
    config = build_config(entry.model_class, common.DATASET, overrides=overrides)
    dataset_class = SequentialDataset if with_recbole else MultiModalSequentialDataset
    dataset = stages.run("read and number", lambda: dataset_class(config))
    train, _, test = stages.run("split and loaders", lambda: data_preparation(config, dataset))
    for name, loader in (("training", train), ("test", test)):
        batches = iter(loader)
        stages.run(f"{N_BATCHES} {name} batches", lambda it=batches: _take(it))
    if not with_recbole:
        for name in dataset.modality_names:
            stages.run(f"{name} features", lambda name=name: dataset.modality(name))
    return stages.rows


def _take(batches: Any) -> None:
    for _, _ in zip(range(N_BATCHES), batches, strict=False):
        pass


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load the whole with this package and a share of it with RecBole."""
    shape = common.shape_of(options)
    share = options.recbole_share
    small = dataclasses.replace(
        shape,
        users=max(1, int(shape.users * share)),
        items=max(1, int(shape.items * share)),
        interactions=int(shape.interactions * share),
        modalities=(),
    )
    results = {}
    for name, size, flag in (("ours", shape, []), ("RecBole", small, ["--with-recbole"])):
        data_path = folder / name
        write_large_dataset(data_path, size, options.seed)
        words = ["--load", str(data_path), "--threads", str(options.threads), *flag]
        stages = common.run_alone("data_scale.py", *words)
        results[name] = {"shape": dataclasses.asdict(size), "stages": stages}
    return results


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--recbole-share", type=float, default=0.01, help="part RecBole loads")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--with-recbole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    common.start(options)
    if options.load:
        print(json.dumps(load(options.load, with_recbole=options.with_recbole)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    for name, row in results.items():
        shape = row["shape"]
        print(
            f"\n{name}: {shape['interactions']:,} interactions, {shape['users']:,} users, ", end=""
        )
        print(f"{shape['items']:,} items, {len(shape['modalities'])} modalities")
        stages = [[stage, *values.values()] for stage, values in row["stages"].items()]
        common.print_table(["stage", "seconds", "peak MB so far"], stages)
    common.write_results(options, {"loads": results})


if __name__ == "__main__":
    main()
