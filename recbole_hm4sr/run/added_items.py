"""Serve items that a run was not trained on: by their features, and as neighbours of the others.

Those that the data set describes and nobody has interacted with are added when the run ends, others
later. Each has the row that ``catalogue: all`` would have given it.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.array_files import write_array
from recbole_hm4sr.data.event_files import add_items
from recbole_hm4sr.data.events import N_TABLES
from recbole_hm4sr.data.feature_rows import add_feature_rows
from recbole_hm4sr.data.item_files import ItemFiles
from recbole_hm4sr.data.memory_files import (
    PREFIX,
    MemoryFiles,
    memory_folder,
    with_items,
    with_rows,
    write_memory,
)
from recbole_hm4sr.data.neighbours import nearest_items
from recbole_hm4sr.data.serving_data import OF_ITEMS, ROWS
from recbole_hm4sr.data.text_encoder import WordWeights

if TYPE_CHECKING:  # it writes what is made here
    from recbole_hm4sr.run.serving_file import ServingFile

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)


def takes_new_items(model: Any) -> bool:
    """Whether a model scores items that the training does not have: by their features."""
    return bool(getattr(model, "modalities", ())) and hasattr(model, "rows_of_new")


def with_added(
    run_dir: Path,
    content: "ServingFile",
    model: Any,
    added: AddedItems,
    *,
    first: ItemFiles | None,
    words: Mapping[str, WordWeights],
) -> "ServingFile":
    """A serving file that has added items too. Files that it names are written, itself is not.

    Args:
        run_dir: Folder of the run.
        content: What is served now.
        model: At its best epoch; it has ``rows_of_new``.
        added: All items that are served beyond those of the training, new ones and earlier ones.
        first: What the data set's files say of the items of the training; only a memory with
            neighbours reads it.
        words: By which items are compared, of the modalities that are compared by words.

    Raises:
        DataError: If a file cannot be read or written.
    """
    data = content.data
    known = set(data.item_tokens.tolist())
    new = [token for token in added.tokens.tolist() if token not in known]
    tokens = np.concatenate([data.item_tokens, np.array(new, dtype=np.str_)])
    number = {token: it for it, token in enumerate(tokens.tolist())}
    numbers = np.array([number[token] for token in added.tokens.tolist()], dtype=np.int64)
    others = {it: data.arrays[it] for it in data.arrays if not it.startswith(PREFIX)}
    of_items = {it: with_rows(others[it], len(tokens)) for it in OF_ITEMS if it in others}
    for name, own in _kept_of_new(model, added).items():
        of_items[name][numbers] = own
    data = replace(data, item_tokens=tokens, arrays={**others, **of_items})
    memory = content.memory
    if memory is not None:
        arrays = {it.removeprefix(PREFIX): v for it, v in content.data.arrays.items()
                  if it.startswith(PREFIX)}  # fmt: skip
        arrays = with_items(arrays, len(tokens))
        arrays |= _neighbours(arrays, added, numbers, first, words)
        memory = _write(run_dir, memory, arrays, len(tokens))
    values = {name: it.values for name, it in added.modalities.items()}
    rows_to_compare = add_feature_rows(run_dir, content.features, values, numbers, len(tokens))
    return replace(
        content, data=data, memory=memory, features=rows_to_compare, added=added.save(run_dir)
    )


def _kept_of_new(model: Any, added: AddedItems) -> dict[str, Array]:
    """What a model keeps of each added item, by name."""
    features = {name: it.aligned() for name, it in added.modalities.items()}
    more = getattr(model, "arrays_of_new", None)
    rows = {ROWS: model.rows_of_new(features).cpu().numpy()}
    return rows if more is None else {**rows, **more(features)}


def _neighbours(
    arrays: Mapping[str, Array],
    added: AddedItems,
    numbers: Array,
    first: ItemFiles | None,
    words: Mapping[str, WordWeights],
) -> dict[str, Array]:
    """The nearest items of all items, by modality, as they would be found if all came at once."""
    found, n_items = {}, len(arrays["starts"]) - 1
    for name, rows in added.modalities.items():
        near = arrays.get(f"near.{name}")
        if near is None:
            continue
        assert first is not None
        if name in words:
            texts = first.texts_to_compare()
            texts += [""] * (n_items - len(texts))
            for number, text in zip(numbers.tolist(), rows.texts, strict=True):
                texts[number] = text
            compared = words[name].apply(texts)
        else:
            compared = with_rows(first.modality(name).values, n_items)
            compared[numbers] = rows.values
        found[f"near.{name}"], found[f"cosines.{name}"] = nearest_items(
            compared, n_neighbours=near.shape[1]
        )
    return found


def _write(
    run_dir: Path, memory: MemoryFiles, arrays: Mapping[str, Array], n_items: int
) -> MemoryFiles:
    """The files of a memory whose events are the same, of more items."""
    starts = add_items(memory.open_events(run_dir).starts, n_items, n_tables=N_TABLES)
    whole = {**memory.whole, "starts": write_array(memory_folder(run_dir), starts)}
    state = memory.open_state(run_dir)
    return write_memory(run_dir, arrays, whole, state, memory.merged, held_out=memory.held_out)


def with_described_items(
    content: "ServingFile",
    model: Any,
    dataset: Any,
    run_dir: Path,
    before: AddedItems | None = None,
) -> "ServingFile":
    """A serving file that has what the data set's files describe, interacted with or not.

    Args:
        content: What is served of the training, with the arrays of its memory.
        model: At its best epoch; it scores by features.
        dataset: Training split of a ``MultiModalSequentialDataset``.
        run_dir: Folder of the run.
        before: Items that were added before.
    """
    try:
        added = dataset.new_items()
    except DataError as error:
        logger.warning("items without interactions are not served: %s", error)
        return content
    if before is not None:
        before = before.without(dataset.item_tokens)
        added = added.without(before.tokens).behind(before)
    if not len(added):
        return content
    logger.info("%d items without interactions are served by their features", len(added))
    names = dataset.modality_names
    words = {name: it for name in names if (it := dataset.words(name)) is not None}
    return with_added(run_dir, content, model, added, first=dataset.item_files, words=words)
