"""``serving.npz`` of a run: what, with settings and checkpoint, is enough to serve it anywhere.

It belongs to one checkpoint: it holds its name and its hash. That of a training is
``checkpoint/best.pt``, that of an update lies in a folder of the update's own, so that a run is
changed by the one file ``serving.npz``. The arrays of a memory
lie in files of their own, which it names by hash (:mod:`recbole_hm4sr.data.memory_files`).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.base.raw_lines import hash_file, hash_stream
from recbole_hm4sr.data.added_items import AddedItems, remove_others
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
from recbole_hm4sr.data.npz import DAMAGE
from recbole_hm4sr.data.refresh_state import KEPT, NewRows, RefreshState, keep_newest
from recbole_hm4sr.data.serving_data import ServingData, describe_dataset, remembered
from recbole_hm4sr.run import kept_encoders
from recbole_hm4sr.run.added_items import takes_new_items, with_described_items
from recbole_hm4sr.run.kept_encoders import KeptEncoder, keep_encoders

logger = logging.getLogger(__name__)
FILE_NAME = "serving.npz"
_FORMAT = "recbole-hm4sr serving 1"
_OF_MODEL = "model."
# The checkpoint of a run's best epoch.
BEST = "checkpoint/best.pt"
# Stands among the files that were learned for the validation and test part of the run's own data.
HELD_OUT = "held out"


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
        checkpoint_file: That checkpoint, as a path inside the run's folder.
        learned: SHA-256 of the files that updates have learned from, in their order, and
            :data:`HELD_OUT` where one has learned what training held out.
        encoders: What made the features, by modality; empty where the model reads none, and for a
            run of an earlier release.
        category_names: Of the items of the training, sorted.
        added: SHA-256 of the file of the items that are served by their features alone; empty for
            none.
        sha256: Of the file that this was read from; empty where it was not read.
    """

    data: ServingData
    fingerprints: dict[str, str]
    checkpoint: str
    memory: MemoryFiles | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    checkpoint_file: str = BEST
    learned: tuple[str, ...] = ()
    encoders: Mapping[str, KeptEncoder] = field(default_factory=dict)
    category_names: tuple[str, ...] = ()
    added: str = ""
    sha256: str = ""

    @property
    def learned_files(self) -> tuple[str, ...]:
        """SHA-256 of the files that updates have learned from, in their order."""
        return tuple(it for it in self.learned if it != HELD_OUT)


def served_checkpoint(run_dir: Path) -> Path:
    """The checkpoint that a run is served with: that of its best epoch, or of its last update.

    Raises:
        DataError: If ``serving.npz`` is damaged.
    """
    path = run_dir / FILE_NAME
    try:
        with np.load(path, allow_pickle=False) as archive:
            return run_dir / _name_of_checkpoint(archive)
    except FileNotFoundError:
        return run_dir / BEST
    except DAMAGE as error:
        raise _no_serving_file(path, error) from error


def _name_of_checkpoint(arrays: Any) -> str:
    """Files of earlier releases name none."""
    return str(arrays["checkpoint_file"]) if "checkpoint_file" in arrays else BEST


def write_serving_file(
    run_dir: Path,
    model: Any,
    dataset: Any,
    *,
    fingerprints: Mapping[str, str],
    checkpoint_file: str = BEST,
    merged: tuple[str, ...] = (),
    learned: tuple[str, ...] = (),
    kept: Sequence[ServingFile] = (),
) -> None:
    """Write what serving needs beside a run's checkpoint.

    Args:
        run_dir: Folder of the run.
        model: With the weights of the checkpoint.
        dataset: Training split.
        fingerprints: Of the data set.
        checkpoint_file: The checkpoint, as a path inside the folder.
        merged: SHA-256 of the files whose interactions are behind those of the data set.
        learned: SHA-256 of the files that the model has learned from since its training.
        kept: What was written before and whose files stay; without the arrays of memories.

    Raises:
        DataError: If it cannot be written.
    """
    from recbole_hm4sr.model.capabilities import serving_arrays, what_it_reads  # it imports torch

    arrays = dict(serving_arrays(model))
    of_memory = {name.removeprefix(PREFIX): arrays.pop(name) for name in _memory_names(arrays)}
    memory = None
    if of_memory:
        events = EventRuns(**{name: of_memory.pop(f"events.{name}") for name in OF_EVENTS})
        rows = remembered(dataset)
        state = _newest_interactions(dataset, rows, MemoryRules(*of_memory["rules"].tolist()))
        memory = write_memory(
            run_dir,
            of_memory,
            write_whole(run_dir, events),
            state,
            merged,
            held_out=len(dataset.log) - len(rows.users),
        )
    data = describe_dataset(dataset, arrays)
    names = dataset.modality_names if "features" in what_it_reads(model) else ()
    content = ServingFile(
        data=data,
        fingerprints=dict(fingerprints),
        checkpoint=_hash(run_dir / checkpoint_file),
        memory=memory,
        features=write_feature_rows(run_dir, {name: dataset.modality(name) for name in names}),
        checkpoint_file=checkpoint_file,
        learned=learned,
    )
    if takes_new_items(model):
        content = _with_new_items(run_dir, content, model, dataset, kept)
    save_serving_file(run_dir, content)
    sweep(run_dir, content.memory, *(it.memory for it in kept))
    remove_others(run_dir, content.added, *(it.added for it in kept))
    remove_feature_rows(run_dir, content.features, *(it.features for it in kept))


def _with_new_items(
    run_dir: Path, content: ServingFile, model: Any, dataset: Any, kept: Sequence[ServingFile]
) -> ServingFile:
    """What is served with the items that the training does not have, and what takes more of them.

    What was fitted to the first items, and the items that were added, come from what was served
    before; of the latter those that the training has by now are among its items.
    """
    if kept:
        encoders, names = kept[0].encoders, kept[0].category_names
    else:
        encoders, names = keep_encoders(run_dir, dataset), _category_names(dataset)
    content = replace(content, encoders=encoders, category_names=names)
    before = AddedItems.load(run_dir, kept[0].added) if kept and kept[0].added else None
    return with_described_items(_opened(run_dir, content), model, dataset, run_dir, before)


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


def _newest_interactions(dataset: Any, rows: NewRows, rules: MemoryRules) -> RefreshState:
    tokens = np.asarray(dataset.vocabulary.users, dtype=np.str_)
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
        "checkpoint_file": np.array(content.checkpoint_file),
        "learned": np.array(content.learned, dtype=np.str_),
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


def read_serving_file(run_dir: Path, path: Path | None = None) -> ServingFile | None:
    """Read the serving file of a run; None if the run has left none.

    Args:
        run_dir: Folder of the run.
        path: Another file than its ``serving.npz``: one that was kept of before.

    Raises:
        DataError: If it or a file that it names is damaged, or it belongs to another checkpoint.
    """
    path = path or run_dir / FILE_NAME
    try:
        with path.open("rb") as file:  # one file is hashed and read, whatever comes in its place
            sha256 = hash_stream(file)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
        if str(arrays["format"]) != _FORMAT:
            raise DataError(
                f"{path} must have the format {_FORMAT!r}, got {str(arrays['format'])!r}; serve "
                f"it with the release that wrote it"
            )
        content = replace(_parse(arrays), sha256=sha256)
    except FileNotFoundError:
        return None
    except DataError:
        raise
    except DAMAGE as error:
        raise _no_serving_file(path, error) from error
    served = run_dir / content.checkpoint_file
    if content.checkpoint != _hash(served):
        raise DataError(
            f"{path} must belong to {served}, but was written for another one; "
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


def _no_serving_file(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} must be the serving file of a run, but: {error}; remove it to serve the run from "
        f"its data set"
    )


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
        _name_of_checkpoint(arrays),
        tuple(arrays["learned"].tolist()) if "learned" in arrays else (),
        kept_encoders.of_array(arrays["encoders"]) if "encoders" in arrays else {},
        tuple(arrays.get("category_names", np.array([])).tolist()),
        str(arrays.get("added", "")),
    )


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
