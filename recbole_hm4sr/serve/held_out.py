"""All interactions that a run's memory can know: its data set's and those that files have brought.

A run ranks its validation and test part by a memory that does not have them. Before it is served
they belong into it, and a model may learn from them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.later_rows import LaterRows, kept_rows
from recbole_hm4sr.data.memory_files import MemoryFiles
from recbole_hm4sr.data.refresh_state import NewRows
from recbole_hm4sr.data.serving_data import remembered
from recbole_hm4sr.run.beginning import earlier_run
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.serving_file import ServingFile
from recbole_hm4sr.serve.history_table import number_items

Array = np.ndarray[Any, Any]


def all_interactions(
    folder: Path, plan: RunPlan, content: ServingFile, memory: MemoryFiles, users: Array
) -> tuple[NewRows, int]:
    """The data set of a run with all that refreshes have brought, and how much was held out.

    A row of a file that the data set has too is one interaction.

    Args:
        folder: Of the run.
        plan: Its settings.
        content: Its serving file.
        memory: The files of its memory.
        users: Raw tokens of the users by the memory's number. Shape ``[U]``, unicode.

    Returns:
        By user and time, numbered as the memory does; equal times as the data set has them, and
        behind them those of the files in the order in which they came. And how many interactions
        of the data set are of its validation and test part.

    Raises:
        ConfigError: If the data set is not there.
        DataError: If it is not the one that the run was trained on, or what a file has brought was
            not kept.
    """
    own, n_held_out = _of_data_set(folder, plan, content)
    tokens = [pd.Index(it[1:].astype(object)) for it in (users, content.data.item_tokens)]
    of_users, of_items = (
        np.append(0, number_items(names[1:].astype(object), known)).astype(np.int64)
        for names, known in zip(own[:2], tokens, strict=True)
    )
    rows = NewRows(of_users[own[2]], of_items[own[3]], own[4])
    if memory.merged:
        rows = _with_files(rows, folder, memory.merged, tokens)
    order = np.lexsort((rows.times, rows.users))  # stable
    return rows.where(order), n_held_out


def held_out_of_training(folder: Path, content: ServingFile) -> Array:
    """Which interactions of a run's data set are of its validation and test part.

    Args:
        folder: Of the run.
        content: Its serving file.

    Returns:
        By user and time, equal times as the data set has them. Shape ``[N]``, bool.

    Raises:
        ConfigError: If the data set is not there.
        DataError: If it is not the one that the run was trained on.
    """
    _, part = _data_set(folder, read_plan(folder), content)
    held_out: Array = ~part.shown_interactions().numpy()
    return held_out


def _of_data_set(
    folder: Path, plan: RunPlan, content: ServingFile
) -> tuple[tuple[Array, ...], int]:
    """Tokens of users and items by number; users, items, times; how many are held out."""
    dataset, part = _data_set(folder, plan, content)
    log, known = dataset.log, dataset.vocabulary
    tokens = (np.asarray(it, dtype=np.str_) for it in (known.users, known.items))
    columns = (*tokens, log.users, log.items, log.times)
    return columns, len(log) - len(remembered(part).users)


@kept_process_state()
def _data_set(folder: Path, plan: RunPlan, content: ServingFile) -> tuple[Any, Any]:
    """The data set that a run was trained on, and its training part."""
    from recbole_hm4sr.data.recbole import MultiModalSequentialDataset  # it imports torch

    config, earlier = plan.to_recbole(), earlier_run(plan, folder)
    vocabulary = None if earlier is None else earlier.vocabulary
    dataset = MultiModalSequentialDataset(config, vocabulary)
    part = dataset.build()[0]
    if dataset.fingerprints()["interactions"] != content.fingerprints.get("interactions"):
        raise DataError(
            f"the interactions of {dataset.dataset_path} must be those that {folder} was trained "
            f"on, but they have changed since; put the old files back, or train the run anew"
        )
    return dataset, part


def _with_files(
    rows: NewRows, folder: Path, merged: tuple[str, ...], tokens: "list[pd.Index[Any]]"
) -> NewRows:
    """Interactions with those behind them that files have brought and that are not among them."""
    brought = [LaterRows.load(kept_rows(folder, it)) for it in merged]
    users, items, times = (
        np.concatenate([getattr(it, name) for it in brought])
        for name in ("users", "items", "times")
    )
    numbers = [number_items(it, known) for it, known in zip((users, items), tokens, strict=True)]
    later = NewRows(numbers[0], numbers[1], times)
    there = pd.DataFrame(rows._asdict()).drop_duplicates()
    found = pd.DataFrame(later._asdict()).merge(there, how="left", indicator=True)
    new = later.where((found["_merge"] != "both").to_numpy())
    return NewRows(*(np.concatenate(pair) for pair in zip(rows, new, strict=True)))
