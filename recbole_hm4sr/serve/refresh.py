"""Bring the memory of a run up to date with new interactions, in seconds and without training.

    recbole_hm4sr.refresh("runs/shop-Momento-20261123-120000", held_out=True)
    recbole_hm4sr.refresh("runs/shop-Momento-20261123-120000", "yesterday.csv")

What the memory knows afterwards equals, to the last bit, what is built from all interactions with
the run's first time. The new files lie beside the old ones until ``serving.npz`` names them, so
that a refresh that is stopped leaves the run as it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import ASCII_BLANKS, locked, remove_leftovers
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.atomic import AtomicTable, count_of
from recbole_hm4sr.data.event_files import add_items, merge_times, write_events, write_merged
from recbole_hm4sr.data.events import (
    N_TABLES,
    EventRuns,
    Interactions,
    TimesOfItems,
    sort_events,
    times_of_items,
)
from recbole_hm4sr.data.later_rows import LaterRows, kept_rows
from recbole_hm4sr.data.memory_files import (
    PREFIX,
    MemoryClock,
    MemoryFiles,
    MemoryRules,
    memory_folder,
    sweep,
    with_items,
    with_rows,
    write_memory,
)
from recbole_hm4sr.data.refresh_state import KEPT, NewRows, RefreshState, keep_newest
from recbole_hm4sr.data.serving_data import OF_ITEMS, ORDER, ROWS, ServingData, by_popularity
from recbole_hm4sr.data.visits import number_visits
from recbole_hm4sr.run.hub_folder import refuse_hub_folder
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.run.serving_file import ServingFile, read_serving_file, save_serving_file
from recbole_hm4sr.serve.exported import indexes_of, require_export
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_faults import Faults
from recbole_hm4sr.serve.history_table import number_items, read_interaction_file

Array = np.ndarray[Any, Any]


class Refreshed(NamedTuple):
    """What a refresh did.

    Attributes:
        is_known: Whether all was merged before: then nothing was done.
        n_added: Interactions that were merged.
        n_skipped: Those that were there.
        n_users: Users who were new.
        n_items: Items that were new.
        known_until: The first moment at which all is known, in the unit of the run's times.
        unit: That unit: ``s`` or ``ms``.
        indexes: Exported indexes in the run's folder that were written anew.
    """

    is_known: bool
    n_added: int
    n_skipped: int
    n_users: int
    n_items: int
    known_until: int
    unit: str
    indexes: tuple[Path, ...] = ()


def refresh(
    run_dir: str | Path,
    interactions: str | Path | None = None,
    *,
    held_out: bool = False,
    skip_bad: bool = False,
) -> Refreshed:
    """Merge new interactions into the memory of a run: events, item times and popularity.

    A file that was merged before is known by its content, and nothing is done. A row equal to one
    of its user's newest that are kept is skipped; a row at the time of its user's newest comes
    behind it. Items that the run does not know get numbers behind the old ones: they are scored by
    the memory alone, since nothing was trained on them. Exported indexes in the run's folder are
    written anew, for which the packages of the extra ``export`` must be there.

    The held-out interactions are those of the run's data set that the memory lacks since its
    validation and test part were ranked by it. They may be merged before and after files.

    Args:
        run_dir: Folder of a finished run with ``memory: events``.
        interactions: CSV, Parquet or ``.inter`` file, written as the run's own files or as the
            table that its data set was prepared from.
        held_out: Merge what the run has held out, in place of a file; its data set must be there.
        skip_bad: Leave out rows of the file that are wrong or older than their user's newest; the
            log says how many, and why.

    Raises:
        ConfigError: If the run has no memory, keeps one interaction of each user and item while a
            file is given, or is being refreshed by another process; if not one of both is given; or
            if the packages of the extra ``export`` are missing, and it has an index.
        DataError: If a row is wrong or older than its user's newest, the data set has changed, or a
            file cannot be read or written; the message says which.
    """
    if (interactions is None) != held_out:
        raise ConfigError("a refresh must have either --interactions or --held_out")
    folder = Path(run_dir)
    refuse_hub_folder(folder, "a refresh")
    plan = read_plan(folder, needs_data=held_out)
    if not held_out and plan.values.get("rm_dup_inter") is not None:
        raise ConfigError(
            f"a refresh must be of a run that keeps all interactions, but {folder} has "
            f"rm_dup_inter: {plan.values['rm_dup_inter']}; train it anew on all data"
        )
    busy = f"{folder} must be refreshed by one process at a time; another one is at it"
    with locked(folder / "refresh.lock", refusal=busy):
        content = read_serving_file(folder)
        if content is None:
            raise DataError(f"{folder} must have a serving.npz, as every run that ended has")
        if content.memory is None:
            raise ConfigError(
                f"a refresh must be of a run with memory: events, but {plan.entry.name} in "
                f"{folder} has no memory; train it anew on all data"
            )
        indexes = indexes_of(folder)
        if indexes:
            require_export(next(iter(indexes)), "a refresh")
        if interactions is None:
            done = _merge_held_out(folder, plan, content, content.memory)
        else:
            path = Path(interactions)
            done = _merge_file(folder, path, plan, content, content.memory, skip_bad=skip_bad)
        return done._replace(indexes=_renewed(folder, indexes, done))


def _renewed(
    folder: Path, indexes: Mapping[Path, Mapping[str, Any]], done: Refreshed
) -> tuple[Path, ...]:
    """Write those indexes anew whose memory has changed, if only in a refresh that was killed."""
    stale = [
        index
        for index, facts in indexes.items()
        if "memory" in facts and (done.n_added or facts["memory"]["moment"] != done.known_until)
    ]
    for index in stale:
        from recbole_hm4sr.serve.export import renew_index  # it imports torch

        renew_index(folder, index, indexes[index])
    return tuple(stale)


def _merge_file(
    folder: Path,
    path: Path,
    plan: RunPlan,
    content: ServingFile,
    memory: MemoryFiles,
    *,
    skip_bad: bool,
) -> Refreshed:
    known, unit = content.data, plan.data.timestamp_unit
    of_memory, _ = _by_prefix(known.arrays)
    clock = MemoryClock.of_array(of_memory["clock"])
    try:
        file_hash = hash_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if file_hash in memory.merged:
        return Refreshed(True, 0, 0, 0, 0, clock.end, unit)
    state = memory.open_state(folder)
    came = _read(path, plan, known, state, skip_bad=skip_bad)
    n_items = len(came.item_tokens)
    of_memory = with_items(of_memory, n_items)
    whole = _merge(folder, memory, state, of_memory, came.rows)
    if len(came.rows.times):
        taken = TimesOfItems(of_memory["times"], of_memory["starts"])
        of_memory |= _item_times(merge_times(taken, *came.rows[1:]), clock, came.rows.times)
    state_now = state.extended(came.rows, came.user_tokens, keep=_n_kept(of_memory))
    came.keep(kept_rows(folder, file_hash))
    merged = (*memory.merged, file_hash)
    files = write_memory(folder, of_memory, whole, state_now, merged, held_out=memory.held_out)
    _save(folder, content, of_memory, files, came.item_tokens)
    remove_leftovers(kept_rows(folder, file_hash).parent)
    return Refreshed(
        is_known=False,
        n_added=len(came.rows.users),
        n_skipped=came.n_skipped,
        n_users=len(came.user_tokens) - len(state.users),
        n_items=n_items - len(known.item_tokens),
        known_until=MemoryClock.of_array(of_memory["clock"]).end,
        unit=unit,
    )


def _merge_held_out(
    folder: Path, plan: RunPlan, content: ServingFile, memory: MemoryFiles
) -> Refreshed:
    """Build the memory from all of the data set and all that files have brought.

    Behind what later files have brought, the held-out interactions are no newest ones, which a
    merge needs.
    """
    of_memory, _ = _by_prefix(content.data.arrays)
    clock, unit = MemoryClock.of_array(of_memory["clock"]), plan.data.timestamp_unit
    nothing = Refreshed(True, 0, 0, 0, 0, clock.end, unit)
    if memory.held_out == 0 or content.learned:  # an update has learned from all there is
        return nothing
    from recbole_hm4sr.serve.held_out import all_interactions  # it imports torch

    users = memory.open_state(folder).users
    rows, n_held_out = all_interactions(folder, plan, content, memory, users)
    if not n_held_out:
        return nothing
    rules, n_items = MemoryRules(*of_memory["rules"].tolist()), len(content.data.item_tokens)
    starts = np.searchsorted(rows.users, rows.users)
    visits = number_visits(rows.times, starts, gap=rules.gap)
    log = Interactions(rows.items, rows.times, starts, visits)
    whole = write_events(memory_folder(folder), log, n_items=n_items, reach=rules.reach)
    n_before = len(of_memory["times"])
    taken = times_of_items(rows.items, rows.times, n_items=n_items)
    of_memory |= _item_times(taken, clock, rows.times)
    positions = np.bincount(rows.users, minlength=len(users))
    state = keep_newest(*rows, positions=positions, tokens=users, keep=_n_kept(of_memory))
    files = write_memory(folder, of_memory, whole, state, memory.merged, held_out=0)
    _save(folder, content, of_memory, files, content.data.item_tokens)
    n_added = len(rows.users) - n_before
    until = MemoryClock.of_array(of_memory["clock"]).end
    return Refreshed(False, n_added, n_held_out - n_added, 0, 0, until, unit)


def _n_kept(of_memory: Mapping[str, Array]) -> int:
    """How many of a user's newest interactions are kept."""
    return max(KEPT, MemoryRules(*of_memory["rules"].tolist()).reach)


def _save(
    folder: Path,
    content: ServingFile,
    of_memory: Mapping[str, Array],
    files: MemoryFiles,
    item_tokens: Array,
) -> None:
    """Let the run be served with what was written; remove what the state before the last had."""
    _, others = _by_prefix(content.data.arrays)
    others = _of_items(others, np.diff(of_memory["starts"]))
    data = replace(content.data, item_tokens=item_tokens, arrays=others)
    save_serving_file(folder, replace(content, data=data, memory=files))
    sweep(folder, files, content.memory)


def _by_prefix(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The arrays of a memory, without their prefix, and the others."""
    of_memory = {it.removeprefix(PREFIX): arrays[it] for it in arrays if it.startswith(PREFIX)}
    return of_memory, {it: arrays[it] for it in arrays if not it.startswith(PREFIX)}


class _Came(NamedTuple):
    """What a file brings.

    Attributes:
        rows: The interactions that are new, by user and time.
        n_skipped: How many were there.
        user_tokens: Of all users by number, new ones behind the others.
        item_tokens: Of all items by number, new ones behind the others.
    """

    rows: NewRows
    n_skipped: int
    user_tokens: Array
    item_tokens: Array

    def keep(self, path: Path) -> None:
        """Keep the new interactions by their tokens: an update learns from them."""
        users, items = (
            tokens[numbers].astype(object)
            for tokens, numbers in (
                (self.user_tokens, self.rows.users),
                (self.item_tokens, self.rows.items),
            )
        )
        LaterRows.in_order(users, items, self.rows.times).save(path)


def _read(
    path: Path, plan: RunPlan, known: ServingData, state: RefreshState, *, skip_bad: bool
) -> _Came:
    user, item, time = (plan.protocol[f"{it}_FIELD"] for it in ("USER_ID", "ITEM_ID", "TIME"))
    columns = HistoryColumns(user, item, time, plan.data.timestamp_unit, known.source)
    raw, table = read_interaction_file(path, columns, skip_bad=skip_bad)
    users, user_tokens = _with_new(raw.users[raw.user], state.users)
    items, item_tokens = _with_new(raw.items, known.item_tokens)
    n_new = len(item_tokens) - len(known.item_tokens)
    if n_new and not {ROWS, ORDER} & set(known.arrays):
        first = int(np.argmax(items >= len(known.item_tokens)))
        raise DataError(
            f"{table.line(first)}: the items must be those of the run, got {raw.items[first]!r} "
            f"({count_of(n_new, 'such item')}); {plan.entry.name} cannot score others"
        )
    came = NewRows(users, items, raw.times)
    rows, n_skipped = _accepted(came, state, table, skip_bad=skip_bad)
    return _Came(rows, n_skipped, user_tokens, item_tokens)


def _with_new(tokens: Array, known: Array) -> tuple[Array, Array]:
    """Numbers of tokens, and all tokens by number: those that are not known behind the others."""
    numbers = number_items(tokens, pd.Index(known[1:].astype(object))).astype(np.int64)
    new = np.flatnonzero(numbers == 0)
    cut = [token.strip(ASCII_BLANKS) or token for token in tokens[new]]
    codes, names = pd.factorize(np.array(cut, dtype=object))
    numbers[new] = len(known) + codes
    return numbers, np.concatenate([known, np.asarray(names, dtype=np.str_)])


def _accepted(
    rows: NewRows, state: RefreshState, table: AtomicTable, *, skip_bad: bool
) -> tuple[NewRows, int]:
    """The rows that are new, by user and time, and how many were there."""

    def too_old(row: int) -> str:
        user = rows.users[row]
        newest = state.times[state.offsets[user + 1] - 1]
        return (
            f"an interaction must not be older than its user's newest, got {rows.times[row]} for "
            f"{str(state.users[user])!r}, whose newest is of {newest}"
        )

    is_kept, is_late = state.sort_out(rows)
    faults = Faults(table)
    faults.add(is_late, "older than its user's newest", too_old)
    # A shop may give its whole log, of which most is known.
    on_time = faults.settle(skip_bad=skip_bad, refuse_most=False)
    rows = rows.where(~is_kept & on_time)
    order = np.lexsort((rows.times, rows.users))  # stable: equal times keep the file's order
    return NewRows(*(column[order] for column in rows)), int(is_kept.sum())


def _of_items(arrays: dict[str, Array], counts: Array) -> dict[str, Array]:
    """What a model keeps of each item, for all items and their interactions. Shape ``[I']``."""
    found = dict(arrays)
    for name in set(OF_ITEMS) & arrays.keys():
        found[name] = with_rows(arrays[name], len(counts))
    if ORDER in arrays:
        found[ORDER] = by_popularity(counts)
    return found


def _merge(
    folder: Path,
    memory: MemoryFiles,
    state: RefreshState,
    arrays: dict[str, Array],
    rows: NewRows,
) -> dict[str, str]:
    """Write all events, new ones included; their hashes by name."""
    rules, n_items = MemoryRules(*arrays["rules"].tolist()), len(arrays["starts"]) - 1
    old = memory.open_events(folder)
    starts = add_items(old.starts, n_items, n_tables=N_TABLES)
    runs = EventRuns(old.others, old.distances, old.times, starts)
    log = state.new_log(rows, gap=rules.gap)
    new = sort_events(log, n_items=n_items, reach=rules.reach)
    return write_merged(memory_folder(folder), runs, new)


def _item_times(taken: TimesOfItems, clock: MemoryClock, times: Array) -> dict[str, Array]:
    """The item times and the moments of a memory.

    Args:
        taken: Of all interactions.
        clock: The moments before.
        times: Of the interactions that the memory has since. Shape ``[N]``, int64.
    """
    newest = int(times.max())
    last = max(clock.first + clock.span - 2, newest)
    # Whole days stay whole days only where all times are.
    grain = 1 if (times % clock.grain).any() else clock.grain
    span, n_items = last - clock.first + 2, len(taken.starts) - 1
    if n_items * span >= 2**63:
        raise DataError(
            f"items times the span of all times must stay below 2^63 for a memory, got {n_items} "
            f"and {span}; look for a time far in the future"
        )
    found = MemoryClock(clock.first, span, max(clock.newest, newest) + grain, grain)
    return {"times": taken.times, "starts": taken.starts, "clock": np.array(found)}
