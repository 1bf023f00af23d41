"""Read the interactions that came after a run, and the run's data with them behind."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.interaction_columns import read_interaction_columns
from recbole_hm4sr.data.later_rows import LaterRows
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features
from recbole_hm4sr.run.place import read_run_settings
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.serve.history_table import HistoryColumns, read_interaction_file

Array = np.ndarray[Any, Any]


def plan_of_later(run_dir: Path, **changes: Any) -> RunPlan:
    """The settings of a run as they are for what came after it.

    Items without features have a row of zeros, targets are ranked among all items, and a memory is
    read up to one moment.

    Args:
        run_dir: Folder of the run.
        **changes: Settings that differ besides; those that the model does not have are left out.

    Raises:
        ConfigError: If its model or data set is not here.
        DataError: If the folder holds no run.
    """
    values = read_plan(run_dir).values
    changes = {"memory_refresh": "none", "missing_features": "zero", "init_from": "", **changes}
    changes = {name: value for name, value in changes.items() if name in values}
    changes["eval_args"] = {**values["eval_args"], "mode": {"valid": "full", "test": "full"}}
    return read_plan(run_dir, machine=changes)


def read_later(
    path: Path, plan: RunPlan, vocabulary: Vocabulary, *, skip_bad: bool = False
) -> LaterRows:
    """The interactions of a file, its tokens as the run writes them.

    A token that the run does not know is taken without the blanks at its ends.

    Args:
        path: CSV, Parquet or ``.inter`` file, columns named as the run's, or as those that its data
            set was prepared from.
        plan: Of the run.
        vocabulary: Of the run.
        skip_bad: Leave wrong rows out; the log says how many, and why.

    Raises:
        DataError: If the file cannot be read, lacks a column, or rows are wrong and may not be left
            out; or if most rows are wrong.
    """
    user, item, moment = (plan.protocol[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "TIME"))
    source = read_interaction_columns(Path(plan.values["data_path"]))
    columns = HistoryColumns(user, item, moment, plan.data.timestamp_unit, source)
    raw, _ = read_interaction_file(path, columns, skip_bad=skip_bad)
    users = _known_or_cut(raw.users, vocabulary.users)[raw.user]
    return LaterRows.in_order(users, _known_or_cut(raw.items, vocabulary.items), raw.times)


def _known_or_cut(tokens: Array, known: Array) -> Array:
    there = set(known.tolist())
    found = [it if it in there else it.strip(ASCII_BLANKS) or it for it in map(str, tokens)]
    return np.array(found, dtype=object)


def open_longer(
    plan: RunPlan,
    config: Any,
    vocabulary: Vocabulary,
    later: LaterRows | None,
    added: AddedItems | None = None,
    *,
    ranks_added: bool = False,
) -> MultiModalSequentialDataset:
    """A run's data with later interactions behind them, as a log.

    Args:
        plan: Of :func:`plan_of_later`.
        config: The same for RecBole.
        vocabulary: Of the run.
        later: What came; None for nothing.
        added: Items that were added to the run, whose features the data set's files do not have.
        ranks_added: Whether those without an interaction have a number too, behind all others; the
            plan has ``catalogue: all`` then.
    """
    folder, item = Path(config["data_path"]), config["ITEM_ID_FIELD"]
    make_missing_text_features(folder, plan.dataset, plan.data, item_field=item)
    more = added.tokens.tolist() if ranks_added and added is not None else ()
    dataset = MultiModalSequentialDataset(config, vocabulary, later, more)
    if added is not None:
        dataset.item_files.add(added)
    dataset.keep_as_log()
    return dataset


def views_of(run_dir: Path) -> tuple[str, ...]:
    """The views in which a model with a memory was measured; empty for another model.

    Args:
        run_dir: Folder of the run.
    """
    _, _, values = read_run_settings(run_dir)
    refreshed = values.get("memory_refresh", "none")
    several = (refreshed,) if isinstance(refreshed, str) else tuple(refreshed)
    return several if values.get("memory") == "events" else ()


def visit_gap(plan: RunPlan) -> int:
    """The longest time between two interactions of one visit, in the unit of the data."""
    return int(plan.data.same_visit_gap * PER_SECOND[plan.data.timestamp_unit])
