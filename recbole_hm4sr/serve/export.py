"""A run as a vector search: item table, user tower as ONNX, and a page on how to query them."""

import contextlib
import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

import recbole_hm4sr
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.model.capabilities import item_vectors, user_tower, what_it_reads
from recbole_hm4sr.model.user_tower import MemoryTower
from recbole_hm4sr.run.place import refuse_existing
from recbole_hm4sr.serve.export_memory import (
    ExportedMemory,
    export_memory,
    remembering,
)
from recbole_hm4sr.serve.export_page import index_page
from recbole_hm4sr.serve.exported import FACTS_FILE, replace_folder, written
from recbole_hm4sr.serve.onnx_index import COUNTS, ITEMS, MEMORY, TOKENS, TOWER, add_lists
from recbole_hm4sr.serve.opening import OpenRun, open_for_serving

# Of scores by onnxruntime against the model's, relative to the largest.
TOLERANCE = 1e-4
_CHECKED_ROWS = 64
_LARGEST_FILE = 1 << 30


def export_index(run_dir: str | Path, out: str | Path, *, list_length: int | None = None) -> Path:
    """Write the index folder of a run, whole or not at all.

    Args:
        run_dir: Folder of the run.
        out: Folder to write; must not exist.
        list_length: Neighbours of an item that are kept of a memory; None for as few as lose little
            on the validation part.

    Returns:
        The folder.

    Raises:
        ConfigError: If the model's scores are neither inner products nor these and a memory, the
            folder exists, or the packages of the extra ``export`` are missing.
        DataError: If the run cannot be opened or the folder not be written, or if the data set is
            not there to choose a list length on.
    """
    require_packages()
    folder = Path(out)
    refuse_existing(folder)
    run = open_for_serving(run_dir)
    run.model.cpu()
    tower, table = _tower_and_items(run)
    memory = None
    if isinstance(tower, MemoryTower):
        memory = export_memory(run.run_dir, tower, list_length)
    with written(folder) as unfinished:
        _write_index(unfinished, run, tower, table, memory)
        unfinished.replace(folder)
    return folder


def renew_index(run_dir: Path, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the index folder of a run anew, as of what is known now.

    The lists of a memory stay as long as they were. What was measured of that length stays as it
    was, too: it is of the validation part, whose memory does not change.

    Args:
        run_dir: Folder of the run.
        folder: The index, which stays until the new one is whole.
        facts: What it says of itself.

    Raises:
        DataError: If the run cannot be opened or the folder not be written.
    """
    run = open_for_serving(run_dir)
    run.model.cpu()
    tower, table = _tower_and_items(run)
    memory, before = None, facts.get("memory")
    if before is not None:
        memory = replace(
            export_memory(run_dir, cast(MemoryTower, tower), before["list_length"]),
            measured=before["measured"],
        )
    with written(folder) as unfinished:
        _write_index(unfinished, run, tower, table, memory)
        replace_folder(unfinished, folder)


def _write_index(
    folder: Path, run: OpenRun, tower: nn.Module, table: Tensor, memory: ExportedMemory | None
) -> None:
    inputs = _write_tower(folder / TOWER, tower, run)
    items = np.ascontiguousarray(table[1:].numpy())
    np.save(folder / ITEMS, items)
    np.save(folder / TOKENS, run.data.item_tokens[1:])
    np.save(folder / COUNTS, run.data.popularity[1:].astype(np.int64))
    if memory is not None:
        write_npz(folder / MEMORY, memory.arrays(cast(MemoryTower, tower)))
    _check_scores(folder, run, inputs, items, memory)
    facts = {**_facts(run, inputs, memory), **_facts_for_service(folder, run, memory)}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    page = index_page(facts, items.shape[1], TOLERANCE)
    (folder / "README.md").write_text(page, encoding="utf-8")


def require_packages() -> None:
    """Refuse early without the packages of the extra.

    Raises:
        ConfigError: If one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"hm4sr export needs the package {error.name}; pip install 'recbole-hm4sr[export]'"
        ) from error


def _tower_and_items(run: OpenRun) -> tuple[nn.Module, Tensor]:
    """The user tower in evaluation mode, and the item table, ``[I, V]``, float32.

    Raises:
        ConfigError: If the model's scores are no inner products, or it cannot be exported.
    """
    with torch.no_grad():
        tower = user_tower(run.model)
        if tower is None:
            raise ConfigError(
                f"hm4sr export takes models whose scores are inner products of a user vector that "
                f"ONNX can compute with item vectors, with or without a memory; got "
                f"{run.config['model']}; use hm4sr recommend or hm4sr serve"
            )
        if isinstance(tower, MemoryTower):
            table = tower.item_vectors()
        else:
            table = item_vectors(run.model, len(run.data.item_tokens))
        return tower.eval(), table.detach().float()


def _write_tower(path: Path, tower: nn.Module, run: OpenRun) -> list[str]:
    """Export the tower; returns the names of its inputs."""
    names = list(inspect.signature(tower.forward).parameters)
    length = run.config["MAX_ITEM_LIST_LENGTH"]
    made = _made_histories(4, length, run)
    batch = torch.export.Dim("batch")
    sizes: dict[int, Any] = {0: batch}
    if length > 1:
        sizes[1] = torch.export.Dim("length", max=length)
    shapes = tuple({0: batch} if made[name].ndim == 1 else sizes for name in names)
    with _quiet_exporter():
        program: Any = torch.onnx.export(
            tower,
            tuple(made[name] for name in names),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=["users", "weights"][: 1 + isinstance(tower, MemoryTower)],
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in this machine's files it comes from
    # A protobuf file ends at 2 GB; beyond, the weights stand in user_tower.onnx.data.
    n_bytes = sum(value.numel() * value.element_size() for value in tower.state_dict().values())
    program.save(str(path), external_data=n_bytes > _LARGEST_FILE)
    return names


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of what nobody can mend: torchvision, its own deprecations."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _made_histories(rows: int, length: int, run: OpenRun) -> dict[str, Tensor]:
    """Histories of all lengths with gaps of all sizes."""
    n_items, ticks = len(run.data.item_tokens), PER_SECOND[_unit(run)]
    random = torch.Generator().manual_seed(0)
    lengths = (torch.arange(rows) % length) + 1
    lengths[0] = length
    padding = torch.arange(length) >= lengths[:, None]
    items = torch.randint(1, n_items, (rows, length), generator=random)
    gaps = 2 ** (24 * torch.rand(rows, length, generator=random, dtype=torch.float64))
    times = run.data.first_time * ticks + (gaps * ticks).long().cumsum(1)
    return {
        "item_seq": items.masked_fill(padding, 0),
        "item_seq_len": lengths,
        "timestamps": times.masked_fill(padding, 0),
        "moments": times.amax(dim=1) + torch.arange(rows) * 3600 * ticks,
    }


@torch.no_grad()
def _check_scores(
    folder: Path, run: OpenRun, inputs: list[str], items: Any, memory: ExportedMemory | None
) -> None:
    """Compare what is written with the model.

    Raises:
        RuntimeError: If they differ.
    """
    import onnxruntime

    config = run.config
    made = _made_histories(_CHECKED_ROWS, config["MAX_ITEM_LIST_LENGTH"], run)
    tower = onnxruntime.InferenceSession(str(folder / TOWER), providers=["CPUExecutionProvider"])
    users, *weights = tower.run(None, {name: made[name].numpy() for name in inputs})
    batch = Interaction(
        {
            config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]: made["item_seq"],
            config["TIME_FIELD"] + config["LIST_SUFFIX"]: made["timestamps"],
            config["ITEM_LIST_LENGTH_FIELD"]: made["item_seq_len"],
            config["TIME_FIELD"]: made["moments"],
        }
    )
    scores = users @ items.T
    if memory is None:
        expected = run.model.full_sort_predict(batch)[:, 1:].numpy()
    else:
        with remembering(run.model, memory.memory):
            expected = run.model.full_sort_predict(batch)[:, 1:].numpy()
        with np.load(folder / MEMORY, allow_pickle=False) as kept:
            last = run.model.read(batch, train=False).requests.last_items.numpy()
            scores = scores + add_lists(kept, weights[0], last, memory.memory.decay)[:, 1:]
    difference = float(np.abs(scores - expected).max())
    if not difference <= TOLERANCE * np.abs(expected).max():
        raise RuntimeError(
            f"the exported tower's scores differ from the model's by {difference:.3g}: this "
            f"version of torch, onnx or onnxruntime computes something else; report it"
        )


def _unit(run: OpenRun) -> str:
    return read_settings(run.config, DataSettings).timestamp_unit


def _facts(run: OpenRun, inputs: list[str], memory: ExportedMemory | None) -> dict[str, Any]:
    config = run.config
    facts = {
        "model": config["model"],
        "dataset": config["dataset"],
        "generated": config["generated"],
        "run": run.run_dir.resolve().name,
        "n_items": len(run.data.item_tokens) - 1,
        "max_length": config["MAX_ITEM_LIST_LENGTH"],
        "timestamp_unit": _unit(run),
        "inputs": inputs,
        "fingerprints": dict(run.fingerprints),
        "versions": {"recbole-hm4sr": recbole_hm4sr.__version__, "torch": torch.__version__},
    }
    return facts if memory is None else {**facts, "memory": memory.facts()}


def _facts_for_service(folder: Path, run: OpenRun, memory: ExportedMemory | None) -> dict[str, Any]:
    """What :mod:`recbole_hm4sr.serve.onnx_index` needs to know besides."""
    clock = run.data.clock
    return {
        "served": {"checkpoint": run.checkpoint, "serving": run.serving},
        "reads": sorted(what_it_reads(run.model)),
        "keep": run.config["rm_dup_inter"],
        "asks_when": bool(getattr(run.model, "reads_request_time", False)),
        "clock": None
        if memory is None or clock is None
        else {"newest": clock.newest, "end": memory.moment, "grain": clock.grain},
        "files": {path.name: hash_file(path) for path in sorted(folder.iterdir())},
    }
