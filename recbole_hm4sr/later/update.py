"""Let a served run learn from new interactions, in seconds.

    recbole_hm4sr.update("runs/shop-Momento-20261123-120000", held_out=True)
    recbole_hm4sr.update("runs/shop-Momento-20261123-120000", "week.parquet")

The memory is brought up to date, and a model that is trained takes some passes over the new
interactions, mixed with as many old ones. All that is new lies in files of its own; ``serving.npz``
is replaced last and names them, so that an update that is stopped leaves the run as it was.
Checkpoints and results of the training stay.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import locked, write_whole
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.later import known_before
from recbole_hm4sr.data.later_rows import LaterRows, kept_rows
from recbole_hm4sr.data.memory_files import sweep
from recbole_hm4sr.data.times import grain_of
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.later.learning import Known, Learner
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.later.reading import open_longer, plan_of_later, read_later
from recbole_hm4sr.model.capabilities import row_keys
from recbole_hm4sr.run.beginning import served_vocabulary
from recbole_hm4sr.run.parts import set_threads
from recbole_hm4sr.run.place import read_run_settings
from recbole_hm4sr.run.plan import RunPlan
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.serving_file import (
    BEST,
    HELD_OUT,
    ServingFile,
    read_serving_file,
    served_checkpoint,
    write_serving_file,
)
from recbole_hm4sr.run.serving_file import FILE_NAME as SERVING
from recbole_hm4sr.serve.export import renew_index, require_packages
from recbole_hm4sr.serve.exported import indexes_of
from recbole_hm4sr.serve.held_out import held_out_of_training
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

Array = np.ndarray[Any, Any]
_FOLDER, _CHECKPOINT, _BEFORE = "updates", "checkpoint.pt", "before.npz"


class Updated(NamedTuple):
    """What an update did.

    Attributes:
        is_known: Whether all was learned from before: then nothing was done.
        n_added: Interactions that are new to the run.
        n_skipped: Those of the file that were there.
        n_learned: Targets that were learned; also of files that a refresh brought since the last
            update. An interaction without one before it is none.
        n_users: Users who have a row since.
        n_items: Items that have a row since.
        seconds: All in all.
    """

    is_known: bool
    n_added: int = 0
    n_skipped: int = 0
    n_learned: int = 0
    n_users: int = 0
    n_items: int = 0
    seconds: float = 0.0


class Added(NamedTuple):
    """What has come to a run since its training, by file.

    Attributes:
        rows: All of it, in order.
        file: The number of the file of each row. Shape ``[N]``, int64.
        hashes: SHA-256 of the files, in their order.
    """

    rows: LaterRows
    file: Array
    hashes: tuple[str, ...]


def read_added(folder: Path, content: ServingFile, *more: tuple[str, LaterRows]) -> Added:
    """The interactions that refreshes and updates have brought to a run, and perhaps some more.

    Args:
        folder: Of the run.
        content: Its serving file.
        *more: Files that come last, by hash.

    Raises:
        DataError: If what a file brought was not kept.
    """
    hashes = content.learned_files if content.memory is None else content.memory.merged
    brought = [LaterRows.load(kept_rows(folder, it)) for it in hashes] + [it for _, it in more]
    empty = np.empty(0, dtype=object)
    columns = [
        np.concatenate([start, *(getattr(rows, name) for rows in brought)])
        for name, start in (("users", empty), ("items", empty), ("times", np.empty(0, np.int64)))
    ]
    file = np.repeat(np.arange(len(brought)), [len(rows) for rows in brought])
    order = np.argsort(columns[2], kind="stable")
    rows = LaterRows(*(column[order] for column in columns))
    return Added(rows, file[order], (*hashes, *(it for it, _ in more)))


@kept_process_state()
def update(
    run_dir: str | Path,
    interactions: str | Path | None = None,
    *,
    held_out: bool = False,
    recipe: Recipe | None = None,
    skip_bad: bool = False,
) -> Updated:
    """Let a run learn from new interactions; users and items it did not know get rows.

    A file that was learned from before is known by its content, and nothing is done. Interactions
    that the run has are skipped. A model that is fitted once is fitted anew.

    The held-out interactions are those of the run's data set that training did not learn from,
    since they validated and tested it. They may be learned before and after files.

    Args:
        run_dir: Folder of a finished run, whose data set is there.
        interactions: CSV, Parquet or ``.inter`` file, columns named as the run's.
        held_out: Learn from what the run has held out, in place of a file.
        recipe: How it learns.
        skip_bad: Leave wrong rows out; the log says how many, and why.

    Raises:
        ConfigError: If the run keeps one interaction of each user and item while a file is given,
            or is changed by another process; or if not one of both is given.
        DataError: If a file cannot be read or written, or the data set has changed.
        TrainingError: If a loss is not finite; the run is as it was.
    """
    if (interactions is None) != held_out:
        raise ConfigError("an update must have either --interactions or --held_out")
    began, folder = time.perf_counter(), Path(run_dir)
    recipe = recipe or Recipe()
    recipe.check()
    _, _, settings = read_run_settings(folder)
    plan = plan_of_later(folder, memory_refresh=settings.get("memory_refresh", "none"))
    if not held_out and plan.values.get("rm_dup_inter") is not None:
        raise ConfigError(
            f"an update must be of a run that keeps all interactions, but {folder} has "
            f"rm_dup_inter: {plan.values['rm_dup_inter']}; train it anew on all data"
        )
    with _one_at_a_time(folder):
        content = _content(folder)
        key = HELD_OUT if interactions is None else hash_file(Path(interactions))
        if key in content.learned:
            return Updated(is_known=True)
        set_threads(plan)
        indexes = _exported(folder)
        came = None
        if interactions is not None:
            came = partial(read_later, Path(interactions), plan, skip_bad=skip_bad)
        done = _update(folder, came, key, plan, content, recipe)
        _renew(folder, indexes)
    return done._replace(seconds=time.perf_counter() - began)


def _exported(folder: Path) -> dict[Path, Mapping[str, Any]]:
    """The indexes in a run's folder, refused early if they cannot be written anew."""
    indexes = indexes_of(folder)
    if indexes:
        require_packages()
    return indexes


def _renew(folder: Path, indexes: Mapping[Path, Mapping[str, Any]]) -> None:
    for index, facts in indexes.items():
        renew_index(folder, index, facts)


def _one_at_a_time(folder: Path) -> contextlib.AbstractContextManager[None]:
    busy = f"{folder} must be changed by one process at a time; another one is at it"
    return locked(folder / "refresh.lock", refusal=busy)


def _content(folder: Path) -> ServingFile:
    content = read_serving_file(folder)
    if content is None:
        raise DataError(f"{folder} must have a serving.npz, as every run that ended has")
    return content


def _update(
    folder: Path,
    read: Callable[[Vocabulary], LaterRows] | None,
    key: str,
    plan: RunPlan,
    content: ServingFile,
    recipe: Recipe,
) -> Updated:
    vocabulary = Vocabulary.load(served_vocabulary(folder))
    learner = Learner(plan, plan.to_recbole())
    before = read_added(folder, content)
    added, n_came, new_file = before, 0, False
    if read is not None:
        came = read(vocabulary)
        n_came, new_file = len(came), key not in before.hashes
        if new_file:
            added = read_added(folder, content, (key, came.where(~came.among(before.rows))))
    items = AddedItems.load(folder, content.added) if content.added else None
    dataset = open_longer(plan, learner.config, vocabulary, added.rows, items)
    times, later = dataset.log.times, dataset.later_rows
    end = int(times.max()) + grain_of(times, plan.data.timestamp_unit)
    part = known_before(dataset, None, ends_before=end)
    is_learned = np.array([it in content.learned for it in added.hashes], dtype=bool)
    of_rows = np.append(is_learned[added.file], True)  # the last is of row -1
    targets = dataset.log.targets()
    is_new = ~of_rows[later]
    if read is None:  # the data set's own rows are in its order, those that came between them
        is_new[later < 0] |= held_out_of_training(folder, content)
    new = targets[is_new[targets]]
    known = Known.read(served_checkpoint(folder), vocabulary)
    number = _number(content) + 1
    model = learner.step(part, known, new, recipe=recipe, number=number, chooses=read is not None)
    is_there = np.isin(np.arange(len(added.rows)), later, invert=True)
    came = added.rows.where((added.file == len(before.hashes)) & ~is_there)
    if new_file:
        came.save(kept_rows(folder, key))
    of_training = (HELD_OUT,) if HELD_OUT in (key, *content.learned) else ()
    _write(folder, number, model, part, content, (*added.hashes, *of_training))
    return Updated(
        is_known=False,
        n_added=len(came),
        n_skipped=n_came - len(came),
        n_learned=len(new),
        n_users=part.user_num - len(vocabulary.users),
        n_items=part.item_num - len(vocabulary.items),
    )


def _number(content: ServingFile) -> int:
    """How many updates a run has behind it."""
    return 0 if content.checkpoint_file == BEST else int(Path(content.checkpoint_file).parts[1])


def _write(
    folder: Path,
    number: int,
    model: Any,
    part: Any,
    content: ServingFile,
    learned: tuple[str, ...],
) -> None:
    """Write what an update leaves; the run is another one with the last file."""
    place = folder / _FOLDER / str(number)
    state = read_checkpoint(served_checkpoint(folder))
    others = model.other_parameter() or {}
    state["other_parameter"] = {
        name: value for name, value in others.items() if name in state["other_parameter"]
    }
    write_checkpoint(place / _CHECKPOINT, {**state, "state_dict": model.state_dict()})
    known = part.vocabulary
    Vocabulary(known.users, known.items, part.first_time(), row_keys(model)).save(place / FILE_NAME)
    before = (folder / SERVING).read_bytes()
    write_whole(place / _BEFORE, lambda file: file.write(before))
    write_serving_file(
        folder,
        model,
        part,
        fingerprints=content.fingerprints,
        checkpoint_file=f"{_FOLDER}/{number}/{_CHECKPOINT}",
        merged=tuple(it for it in learned if it != HELD_OUT),
        learned=learned,
        kept=_states_before(folder, number),
    )
    shutil.rmtree(folder / _FOLDER / str(number - 2), ignore_errors=True)


def _states_before(folder: Path, number: int) -> list[ServingFile]:
    """What a run can be taken back to from an update; without what a refresh has removed since."""
    found = []
    for it in (number, number - 1):
        with contextlib.suppress(DataError):
            found.append(read_serving_file(folder, folder / _FOLDER / str(it) / _BEFORE))
    return [content for content in found if content is not None]


def undo(run_dir: str | Path) -> None:
    """Take back the last update of a run: it is served as before.

    Args:
        run_dir: Folder of the run.

    Raises:
        ConfigError: If there is no update to take back, or a refresh came after it.
        DataError: If the folder holds no run that has ended, or a file is missing.
    """
    folder = Path(run_dir)
    with _one_at_a_time(folder):
        content = _content(folder)
        place = folder / Path(content.checkpoint_file).parent
        before = place / _BEFORE
        if content.checkpoint_file == BEST or not before.is_file():
            raise ConfigError(f"{folder} must have an update that can be taken back, but has none")
        if content.memory is not None and content.memory.merged != content.learned_files:
            raise ConfigError(
                f"{folder} was refreshed after its last update, which so cannot be taken back; "
                f"update it again, or train it anew on all data"
            )
        indexes = _exported(folder)
        restored = read_serving_file(folder, before)
        assert restored is not None
        text = before.read_bytes()
        write_whole(folder / SERVING, lambda file: file.write(text))
        others = _states_before(folder, _number(restored))
        sweep(folder, restored.memory, *(it.memory for it in others))
        shutil.rmtree(place, ignore_errors=True)
        _renew(folder, indexes)
