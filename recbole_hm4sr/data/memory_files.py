"""The memory of a run on the disk: what a service maps, all events, and the state for a refresh.

All are arrays in files named by their hash: ``memory/`` has what is served and all events,
``refresh_state/`` the newest interactions of each user. ``serving.npz`` names them; with it the
whole changes at once, since a file never does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.files import remove_leftovers
from recbole_hm4sr.data.array_files import keep_array, open_array, remove_arrays, write_array
from recbole_hm4sr.data.event_files import add_items, cut_pieces, latest_runs, write_pieces
from recbole_hm4sr.data.events import EventRuns, starts_of
from recbole_hm4sr.data.refresh_state import RefreshState

Array = np.ndarray[Any, Any]
# Arrays of a model under names that begin so lie in files of their own.
PREFIX = "memory."
OF_EVENTS = ("others", "distances", "times", "starts")
_STATE = ("users", "positions", "offsets", "items", "times")
_FOLDERS = {"served": "memory", "whole": "memory", "state": "refresh_state"}
_GROUPS = tuple(_FOLDERS)


class MemoryRules(NamedTuple):
    """How the memory of a run is made, as its array ``rules`` has it.

    Attributes:
        reach: K.
        gap: The longest time between two interactions of one visit.
        limit: Latest events of an item, direction and kind that are read.
        reads_past: 1 where a request reads the memory as of its newest interaction, whenever that
            was; 0 where requests are of now.
    """

    reach: int
    gap: int
    limit: int
    reads_past: int

    def to_array(self) -> Array:
        """Shape ``[4]``, int64."""
        return np.array(self, dtype=np.int64)


class MemoryClock(NamedTuple):
    """Moments of a memory in the unit of the data, as its array ``clock`` has them.

    Attributes:
        first: t_0, the first time of all data.
        span: More than the last time minus the first.
        end: The first moment at which all that is stored is known.
        grain: The smallest step of the times.
    """

    first: int
    span: int
    end: int
    grain: int

    @classmethod
    def of_array(cls, values: Array) -> "MemoryClock":
        """Of shape ``[4]``, int64."""
        return cls(*map(int, values))

    @property
    def newest(self) -> int:
        """The time of the newest interaction that is stored."""
        return self.end - self.grain


@dataclass(frozen=True)
class MemoryFiles:
    """Hashes of the files of a run's memory, by the name of the array.

    Attributes:
        served: What a service maps, by the model's name of it without :data:`PREFIX`.
        whole: All events, from which a refresh makes what is served.
        state: Of :class:`~recbole_hm4sr.data.refresh_state.RefreshState`.
        merged: SHA-256 of the files that were merged, in their order.
        held_out: Interactions of the run's data set, of its validation and test part, that the
            memory does not have; None where an older release has not counted them.
    """

    served: dict[str, str]
    whole: dict[str, str]
    state: dict[str, str]
    merged: tuple[str, ...] = ()
    held_out: int | None = None

    def to_arrays(self) -> dict[str, Array]:
        """As ``serving.npz`` holds it."""
        pairs = [
            (f"{g}/{name}", value) for g in _GROUPS for name, value in getattr(self, g).items()
        ]
        return {
            "files": np.array(pairs, dtype=np.str_).reshape(-1, 2),
            "merged": np.array(self.merged, dtype=np.str_),
            **({} if self.held_out is None else {"held_out": np.array(self.held_out)}),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> "MemoryFiles | None":
        """What ``serving.npz`` holds of it; None for a run without a memory."""
        if "files" not in arrays:
            return None
        groups: dict[str, dict[str, str]] = {group: {} for group in _GROUPS}
        for name, value in arrays["files"].tolist():
            group, _, array = name.partition("/")
            groups[group][array] = value
        held_out = int(arrays["held_out"]) if "held_out" in arrays else None
        return cls(**groups, merged=tuple(arrays["merged"].tolist()), held_out=held_out)

    def open(self, run_dir: Path, group: str) -> dict[str, Array]:
        """Map the arrays of a group: ``served``, ``whole`` or ``state``.

        Raises:
            DataError: If a file is missing or damaged.
        """
        names = getattr(self, group)
        return {it: open_array(run_dir / _FOLDERS[group], value) for it, value in names.items()}

    def copy_served(self, run_dir: Path, target: Path) -> "MemoryFiles":
        """Give what is served a place in another folder, too.

        Returns:
            The memory there: without its events of before, and without the interactions of users.

        Raises:
            DataError: If a file is missing or damaged.
            WriteError: If they cannot be written.
        """
        for values in self.open(run_dir, "served").values():
            keep_array(target / _FOLDERS["served"], values)
        return MemoryFiles(dict(self.served), {}, {})

    def open_events(self, run_dir: Path) -> EventRuns:
        """Map all events.

        Raises:
            DataError: If a file is missing or damaged.
        """
        return EventRuns(**self.open(run_dir, "whole"))

    def open_state(self, run_dir: Path) -> RefreshState:
        """Map the newest interactions of each user.

        Raises:
            DataError: If a file is missing or damaged.
        """
        return RefreshState(**self.open(run_dir, "state"))


def memory_folder(run_dir: Path) -> Path:
    """Where the events of a run lie."""
    return run_dir / _FOLDERS["whole"]


def write_memory(
    run_dir: Path,
    arrays: Mapping[str, Array],
    whole: Mapping[str, str],
    state: RefreshState,
    merged: tuple[str, ...] = (),
    *,
    held_out: int | None = None,
) -> MemoryFiles:
    """Write all of a memory but its events, which are there, and what is served of them.

    Args:
        run_dir: Folder of the run.
        arrays: Of the memory by name; those of the events are not read.
        whole: Hashes of all events.
        state: The newest interactions of each user.
        merged: SHA-256 of the files that were merged.
        held_out: Interactions of the data set that it does not have, if they were counted.

    Raises:
        DataError: If something cannot be written.
    """
    folder = memory_folder(run_dir)
    rules = MemoryRules(*arrays["rules"].tolist())
    served = dict(whole)
    if not rules.reads_past:
        runs = EventRuns(**{name: open_array(folder, value) for name, value in whole.items()})
        served = _write_latest(folder, runs, rules, MemoryClock.of_array(arrays["clock"]))
    names = {f"events.{name}": value for name, value in served.items()}
    for name, values in arrays.items():
        if name not in names:
            names[name] = write_array(folder, values)
    states = {
        name: write_array(run_dir / _FOLDERS["state"], getattr(state, name)) for name in _STATE
    }
    return MemoryFiles(names, dict(whole), states, merged, held_out)


def with_items(arrays: Mapping[str, Array], n_items: int) -> dict[str, Array]:
    """The memory with empty runs and without neighbours for items behind the old ones.

    Args:
        arrays: Of the memory by name; those of the events stay as they are.
        n_items: How many items there are now.
    """
    found = dict(arrays)
    found["starts"] = add_items(arrays["starts"], n_items)
    for name, values in arrays.items():
        if name.startswith(("near.", "cosines.")):
            found[name] = with_rows(values, n_items)
    return found


def with_rows(values: Array, n_rows: int) -> Array:
    """A copy of an array with rows of zeros behind its own."""
    more = np.zeros((n_rows - len(values), *values.shape[1:]), dtype=values.dtype)
    return np.concatenate([values, more])


def write_whole(run_dir: Path, runs: EventRuns) -> dict[str, str]:
    """Write all events; their hashes by name. Mapped ones get a second name and are not copied.

    Raises:
        DataError: If they cannot be written.
    """
    folder = memory_folder(run_dir)
    return {name: keep_array(folder, getattr(runs, name)) for name in OF_EVENTS}


def _write_latest(
    folder: Path, runs: EventRuns, rules: MemoryRules, clock: MemoryClock
) -> dict[str, str]:
    """What can be read at the newest time or later."""
    firsts, counts = latest_runs(runs, limit=rules.limit, before=clock.newest)
    starts = starts_of(counts)
    names = write_pieces(folder, cut_pieces(runs, firsts, counts), int(starts[-1]))
    return {**names, "starts": write_array(folder, starts)}


def sweep(run_dir: Path, *kept: MemoryFiles | None) -> None:
    """Remove files that are of none of some memories, and what killed writers have left.

    Args:
        run_dir: Folder of the run.
        kept: The memory that is named now, and the one before, which a service may be opening.
    """
    there = [it for it in kept if it is not None]
    hashes = {value for it in there for group in _GROUPS for value in getattr(it, group).values()}
    remove_leftovers(run_dir)
    for name in set(_FOLDERS.values()):
        remove_arrays(run_dir / name, hashes)
        remove_leftovers(run_dir / name)
