"""Memory of a process of several that share a catalogue: bytes held, and the growth of two steps.

    python benchmarks/sharded_catalogue.py --items 1000000 --processes 1 2 4

Item vectors, features and their projections, Adam's states and the exact softmax of HM4SR's shape,
for random users; without data set and encoders, which every process has whole. The second step has
the optimiser's states.
"""

import argparse
import os
import socket
import time
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.items import FeatureRows, FeatureTable, IdRows
from recbole_hm4sr.layers.losses import loss_rows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.sharded_catalogue import ShardedCatalogue
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.shards import Shards

_MIB = 2**20


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Two steps in this process."""
    before = _resident_mb()
    shards = Shards.whole(options.items)
    if processes.world_size() > 1:
        shards = Shards.of_processes(options.items)
    size = options.hidden_size
    ids = IdRows(shards, size)
    parts = [_features(options, shards, seed) for seed in range(2)]
    model = torch.nn.ModuleList([ids, *parts])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    torch.manual_seed(processes.rank())
    users = torch.randn(options.targets // processes.world_size(), 3, size) * 0.1
    targets = torch.randint(1, options.items, (len(users),))
    seconds = []
    for _ in range(2):
        began = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        rows = torch.stack([ids.rows(), *(part.rows() for part in parts)], dim=1)
        catalogue = Catalogue(rows)
        if shards.is_split:
            catalogue = ShardedCatalogue(rows, first=shards.own.start, shards=shards)
        # As an encoder reads the items of its tokens, here those of the targets.
        read = UserRows(users + catalogue.of(targets))
        catalogue.loss(read, loss_rows(targets)).backward()
        optimizer.step()
        seconds.append(time.process_time() - began)
    held = {
        "weights": [*model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "adam": [v for state in optimizer.state.values() for v in state.values()],
        "features": [*model.buffers()],
        "catalogue": [rows],
    }
    return {
        "own_items": shards.n_own,
        "bytes": {name: sum(map(_bytes, tensors)) for name, tensors in held.items()},
        "growth_mb": _peak_mb() - before,
        "step_cpu_seconds": seconds[-1],
    }


def _features(options: argparse.Namespace, shards: Shards, seed: int) -> FeatureRows:
    def take(items: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        shape = len(items), options.feature_size
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)

    width = options.feature_size
    table = FeatureTable(take, n_items=options.items, width=width, resident=True, held=shards.own)
    return FeatureRows(table, options.hidden_size)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096 / _MIB


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _together(options: argparse.Namespace, count: int) -> list[dict[str, Any]]:
    """What each of several processes measures; forks of this one, as ``torchrun`` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    queue: Any = torch.multiprocessing.get_context("fork").SimpleQueue()
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            if count > 1:
                place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update(place, WORLD_SIZE=str(count), RANK=str(number))
            code = 1
            try:
                with processes.processes(torch.device("cpu"), timeout_seconds=3600):
                    queue.put({"number": number, **measure(options)})
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise SystemExit("a process has failed")
    return sorted((queue.get() for _ in children), key=lambda one: one["number"])


def main() -> None:
    """Measure each number of processes, then print and write the table."""
    parser = common.option_parser(__doc__, repeats=1)
    parser.set_defaults(items=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--targets", type=int, default=64, help="targets of a step, of all")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--feature_size", type=int, default=64, help="width of each modality")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {count: _together(options, count) for count in options.processes}
    rows = []
    for count, measured in found.items():
        largest = max(measured, key=lambda one: sum(one["bytes"].values()))
        held = sum(largest["bytes"].values()) / _MIB
        growth = max(one["growth_mb"] for one in measured)
        rows.append([count, largest["own_items"], held, growth, largest["step_cpu_seconds"]])
    header = ["processes", "items of one", "held MB", "growth MB", "step CPU s"]
    common.print_table(header, rows)
    common.write_results(options, {"processes": found})


if __name__ == "__main__":
    main()
