"""Checkpoints of a catalogue whose rows lie in several processes: a file of rows from each.

The checkpoint itself, which the first process writes last, holds everything else and names the
files; each file has a name of its own, so that none is ever written over and a checkpoint is whole
at any moment. Whoever reads it says which rows it wants: those of one of another number of
processes, or all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_hm4sr.base.errors import CheckpointError, WriteError
from recbole_hm4sr.parallel.processes import is_first
from recbole_hm4sr.parallel.shards import Shards, sharded_parameters
from recbole_hm4sr.train.checkpoint_file import (
    read_file,
    refuse_unless_whole,
    refusing_damage,
    write_checkpoint,
)

# In a checkpoint: which files hold its rows. Steps through the mappings of a state to a tensor.
REFERENCE = "rows"
ROW_FILES = "rows-*.pt"
Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class RowReader:
    """Which rows of a checkpoint this process wants, where it holds a part of the items.

    Attributes:
        shards: Who holds which items.
        names: Of the parameters that have a row an item.
        numbers: Of the same in the optimizer.
    """

    shards: Shards
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, optimizer: torch.optim.Optimizer) -> "RowReader":
        """What a model that holds a part of the items, and its optimizer, want."""
        parameters = sharded_parameters(model)
        every = [p for group in optimizer.param_groups for p in group["params"]]
        numbers = {id(parameter): number for number, parameter in enumerate(every)}
        return cls(
            model.shards, tuple(parameters), tuple(numbers[id(p)] for p in parameters.values())
        )

    def steps(self, state: Mapping[str, Any]) -> list[Steps]:
        """Where a state has rows of items."""
        found: list[Steps] = [("state_dict", name) for name in self.names]
        moments = state.get("optimizer", {}).get("state", {})
        for number in self.numbers:
            for key, value in moments.get(number, {}).items():
                if isinstance(value, Tensor) and value.ndim:
                    found.append(("optimizer", "state", number, key))
        return found


def write_rows(folder: Path, state: Mapping[str, Any], reader: RowReader, token: str) -> None:
    """Write the own rows of a state.

    Args:
        folder: Of the checkpoints.
        state: Of this process.
        reader: Says what its rows are.
        token: A text that no other epoch of the run has, the same in all processes.

    Raises:
        WriteError: If they cannot be written.
    """
    rows = [_at(state, steps) for steps in reader.steps(state)]
    write_checkpoint(folder / _names(reader.shards, token)[reader.shards.number], {"rows": rows})


def without_rows(state: Mapping[str, Any], reader: RowReader, token: str) -> dict[str, Any]:
    """A state that names the files of its rows in their place.

    Args:
        state: Of the first process.
        reader: Says what its rows are.
        token: As the files were written with.
    """
    steps = reader.steps(state)
    rest = _replaced(state, dict.fromkeys(steps))
    return {
        **rest,
        REFERENCE: {
            "files": _names(reader.shards, token),
            "bounds": list(reader.shards.bounds),
            "steps": [list(path) for path in steps],
        },
    }


def _names(shards: Shards, token: str) -> list[str]:
    count = len(shards.bounds) - 1
    return [f"rows-{token}-{number + 1}of{count}.pt" for number in range(count)]


def read_rows(
    state: dict[str, Any], path: Path, reader: RowReader | None, device: Any
) -> dict[str, Any]:
    """A checkpoint with the rows that this process wants.

    Args:
        state: As the file holds it: whole, or with names of files.
        path: The file.
        reader: Says what is wanted; None for all rows.
        device: Where they go.

    Raises:
        CheckpointError: If a file is missing, damaged or of another run.
    """
    own = None if reader is None else reader.shards.own
    if REFERENCE not in state:
        if reader is None or own is None:
            return state
        with refusing_damage(path):
            cut = {steps: _at(state, steps)[own].clone() for steps in reader.steps(state)}
            return _replaced(state, cut)
    if is_first() and reader is not None:
        require_rows(path, state)  # for the others, each of which reads some of them
    with refusing_damage(path):
        held = state[REFERENCE]
        wanted = slice(0, held["bounds"][-1]) if own is None else own
        # Those of the checkpoint that are in its files: a best epoch keeps no optimizer.
        steps = [tuple(steps) for steps in held["steps"]]
        parts: list[list[Tensor]] = []
        for name, (begin, end) in zip(named_files(state), pairwise(held["bounds"]), strict=True):
            first, last = max(begin, wanted.start), min(end, wanted.stop)
            if first >= last:
                continue
            rows = read_file(path.parent / name, device)["rows"]
            parts.append([values[first - begin : last - begin] for values in rows])
        joined = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        rest = {name: value for name, value in state.items() if name != REFERENCE}
        found = {p: rows for p, rows in zip(steps, joined, strict=True) if p[0] in rest}
    return _replaced(rest, found)


def require_rows(path: Path, state: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose files of rows are not all there and whole.

    Args:
        path: The checkpoint.
        state: As its own file holds it.

    Raises:
        CheckpointError: Names the file.
    """
    for name in named_files(state):
        file_path = path.parent / name
        try:
            with file_path.open("rb") as file:
                refuse_unless_whole(file_path, file)
        except OSError as error:
            raise CheckpointError(f"cannot read {file_path}: {error.strerror}") from error


def named_files(state: Mapping[str, Any]) -> list[str]:
    """The files of rows that a checkpoint names."""
    return [Path(name).name for name in state.get(REFERENCE, {}).get("files", [])]


def remove_others(folder: Path, named: Iterable[str]) -> None:
    """Remove the files of rows that no checkpoint names any more.

    Args:
        folder: Of the checkpoints.
        named: Names of the files that stay.

    Raises:
        WriteError: If one cannot be removed.
    """
    kept = set(named)
    for path in folder.glob(ROW_FILES):
        if path.name not in kept:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise WriteError(f"cannot remove {path}: {error.strerror}") from error


def _at(state: Any, steps: Steps) -> Any:
    for step in steps:
        state = state[step]
    return state


def _replaced(state: Mapping[str, Any], values: Mapping[Steps, Any]) -> dict[str, Any]:
    """A copy of nested mappings with other values at some places; the rest is shared."""
    found: dict[Any, Any] = dict(state)
    for name in {steps[0] for steps in values}:
        inner = {steps[1:]: value for steps, value in values.items() if steps[0] == name}
        found[name] = inner[()] if () in inner else _replaced(found[name], inner)
    return found
