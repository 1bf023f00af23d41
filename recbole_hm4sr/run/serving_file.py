"""``serving.npz`` of a run: what, with settings and checkpoint, is enough to serve it anywhere.

It belongs to one checkpoint: it holds the hash of ``checkpoint/best.pt``. The arrays of a memory
lie in files of their own, which it names by hash (:mod:`recbole_hm4sr.data.memory_files`).
"""

import logging
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.added_items import remove_others
from recbole_hm4sr.data.events import EventRuns
from recbole_hm4sr.data.feature_rows import remove_feature_rows, write_feature_rows
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.data.item_table import ItemTable
from recbole_hm4sr.data.memory_files import (
    OF_EVENTS,
    PREFIX,
    MemoryFiles,
    MemoryRules,
    sweep,
    write_memory,
    write_whole,
)
from recbole_hm4sr.data.refresh_state import KEPT, RefreshState, keep_newest
from recbole_hm4sr.data.serving_data import ServingData, describe_dataset, remembered
from recbole_hm4sr.run import kept_encoders
from recbole_hm4sr.run.added_items import takes_new_items, with_described_items
from recbole_hm4sr.run.kept_encoders import KeptEncoder, keep_encoders

logger = logging.getLogger(__name__)
FILE_NAME = "serving.npz"
_FORMAT = "recbole-hm4sr serving 1"
_OF_MODEL = "model."


@dataclass(frozen=True)
class ServingFile:
    """A serving file.

    Attributes:
        data: What the model reads.
        fingerprints: Hashes of the data set that the run was trained on.
        checkpoint: Hash of the checkpoint that it belongs to.
        memory: The files of the memory; None for a run without one.
        features: Hashes of the files of the item features, by modality; empty where the model
            reads none.
        encoders: What made the features, by modality; empty where the model reads none, and for a
            run of an earlier release.
        category_names: Of the items of the training, sorted.
        added: SHA-256 of the file of the items that are served by their features alone; empty for
            none.
    """

    data: ServingData
    fingerprints: dict[str, str]
    checkpoint: str
    memory: MemoryFiles | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, KeptEncoder] = field(default_factory=dict)
    category_names: tuple[str, ...] = ()
    added: str = ""


def best_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of a run's best epoch."""
    return run_dir / "checkpoint" / "best.pt"


def write_serving_file(
    run_dir: Path, model: Any, dataset: Any, *, fingerprints: Mapping[str, str]
) -> None:
    """Write what serving needs beside a finished run's checkpoint.

    Args:
        run_dir: Folder of the run.
        model: Set to its best epoch.
        dataset: Training split.
        fingerprints: Of the data set.

    Raises:
        DataError: If it cannot be written.
    """
    from recbole_hm4sr.model.capabilities import serving_arrays, what_it_reads  # it imports torch

    arrays = dict(serving_arrays(model))
    of_memory = {name.removeprefix(PREFIX): arrays.pop(name) for name in _memory_names(arrays)}
    memory = None
    if of_memory:
        events = EventRuns(**{name: of_memory.pop(f"events.{name}") for name in OF_EVENTS})
        state = _newest_interactions(dataset, MemoryRules(*of_memory["rules"].tolist()))
        memory = write_memory(run_dir, of_memory, write_whole(run_dir, events), state)
    data = describe_dataset(dataset, arrays)
    has_features = "features" in what_it_reads(model)
    names, takes_new = dataset.modality_names if has_features else (), takes_new_items(model)
    content = ServingFile(
        data=data,
        fingerprints=dict(fingerprints),
        checkpoint=_hash(best_checkpoint(run_dir)),
        memory=memory,
        features=write_feature_rows(run_dir, {name: dataset.modality(name) for name in names}),
        encoders=keep_encoders(run_dir, dataset) if takes_new else {},
        category_names=_category_names(dataset) if takes_new else (),
    )
    content = with_described_items(_opened(run_dir, content), model, dataset, run_dir)
    save_serving_file(run_dir, content)
    sweep(run_dir, content.memory)
    remove_others(run_dir, content.added)
    remove_feature_rows(run_dir, content.features)


def _category_names(dataset: Any) -> tuple[str, ...]:
    """Of the items of the training; none of a file that is broken, since a run may not need it."""
    try:
        names: tuple[str, ...] = dataset.categories()[1]
    except DataError as error:
        logger.warning("names of categories are not kept for new items: %s", error)
        return ()
    return names


def _memory_names(arrays: Mapping[str, Any]) -> list[str]:
    return [name for name in arrays if name.startswith(PREFIX)]


def _newest_interactions(dataset: Any, rules: MemoryRules) -> RefreshState:
    rows, tokens = remembered(dataset), np.asarray(dataset.vocabulary.users, dtype=np.str_)
    positions = np.bincount(rows.users, minlength=len(tokens))
    keep = max(KEPT, rules.reach)
    return keep_newest(*rows, positions=positions, tokens=tokens, keep=keep)


def save_serving_file(run_dir: Path, content: ServingFile) -> None:
    """Write ``serving.npz``: from then on the run is served with what it says.

    Args:
        run_dir: Folder of the run.
        content: The arrays of its memory are in their files.

    Raises:
        DataError: If it cannot be written.
    """
    data = content.data
    own = {name: values for name, values in data.arrays.items() if not name.startswith(PREFIX)}
    arrays = {
        "format": np.array(_FORMAT),
        "checkpoint": np.array(content.checkpoint),
        "fingerprint_names": np.array(list(content.fingerprints), dtype=np.str_),
        "fingerprints": np.array(list(content.fingerprints.values()), dtype=np.str_),
        "item_tokens": data.item_tokens,
        "counts": data.counts,
        "encoders": kept_encoders.to_array(content.encoders),
        "category_names": np.array(content.category_names, dtype=np.str_),
        "added": np.array(content.added),
        "numbers": np.array([data.n_users, data.first_time, data.longest_gap], dtype=np.int64),
        "features": np.array([*content.features.items()], dtype=np.str_).reshape(-1, 2),
        **({} if data.table is None else data.table.to_arrays()),
        **({} if data.source is None else {"source": np.array(data.source.to_text())}),
        **({} if content.memory is None else content.memory.to_arrays()),
        **{_OF_MODEL + name: values for name, values in own.items()},
    }
    write_npz(run_dir / FILE_NAME, arrays)


def read_serving_file(run_dir: Path) -> ServingFile | None:
    """Read the serving file of a run; None if the run has left none.

    Raises:
        DataError: If it or a file that it names is damaged, or it belongs to another checkpoint.
    """
    path = run_dir / FILE_NAME
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        if str(arrays["format"]) != _FORMAT:
            raise DataError(
                f"{path} must have the format {_FORMAT!r}, got {str(arrays['format'])!r}; serve "
                f"it with the release that wrote it"
            )
        content = _parse(arrays)
    except FileNotFoundError:
        return None
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} must be the serving file of a run, but: {error}; remove it to serve the run "
            f"from its data set"
        ) from error
    if content.checkpoint != _hash(best_checkpoint(run_dir)):
        raise DataError(
            f"{path} must belong to {best_checkpoint(run_dir)}, but was written for another one; "
            f"remove it to serve the run from its data set"
        )
    return _opened(run_dir, content)


def _opened(run_dir: Path, content: ServingFile) -> ServingFile:
    """With the arrays of its memory, which lie in files of their own."""
    if content.memory is None:
        return content
    mapped = content.memory.open(run_dir, "served")
    of_memory = {PREFIX + name: values for name, values in mapped.items()}
    arrays = {**content.data.arrays, **of_memory}
    return replace(content, data=replace(content.data, arrays=arrays))


def _parse(arrays: dict[str, Any]) -> ServingFile:
    n_users, first_time, longest_gap = arrays["numbers"].tolist()
    names, values = arrays["fingerprint_names"].tolist(), arrays["fingerprints"].tolist()
    data = ServingData(
        item_tokens=arrays["item_tokens"],
        counts=arrays["counts"],
        n_users=n_users,
        first_time=first_time,
        longest_gap=longest_gap,
        arrays={
            name.removeprefix(_OF_MODEL): value
            for name, value in arrays.items()
            if name.startswith(_OF_MODEL)
        },
        table=ItemTable.of_arrays(arrays),
        source=InteractionColumns.of_text(str(arrays["source"])) if "source" in arrays else None,
    )
    return ServingFile(
        data,
        dict(zip(names, values, strict=True)),
        str(arrays["checkpoint"]),
        MemoryFiles.of_arrays(arrays),
        dict(arrays["features"].tolist()) if "features" in arrays else {},
        kept_encoders.of_array(arrays["encoders"]) if "encoders" in arrays else {},
        tuple(arrays.get("category_names", np.array([])).tolist()),
        str(arrays.get("added", "")),
    )


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
