"""The checkpoints of one run, and which of them a run may resume from.

* ``best.pt``: what changes the scores of the best epoch so far; of a model that is measured in
  several views, the first one's, and ``best-<view>.pt`` of each other;
* ``last.pt``: everything needed to resume as if nothing had happened;
* ``previous.pt``: the ``last.pt`` of the epoch before.

After an epoch ``last.pt`` is written first, then ``best.pt`` if the epoch is the best so far. A run
that is killed in between has the best epoch in ``last.pt``, and ``best.pt`` is written from it. A
damaged ``last.pt`` gives way to ``previous.pt``, and the epoch between them is trained again.

Where several processes share the items, each of these names files of rows beside it
(:mod:`recbole_hm4sr.train.row_files`) until the run has ended.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_hm4sr.base.errors import CheckpointError, WriteError
from recbole_hm4sr.config.renamed import with_new_names
from recbole_hm4sr.model.registry import settings_with
from recbole_hm4sr.train.checkpoint import refuse_foreign
from recbole_hm4sr.train.checkpoint_file import read_file, refusing_damage, write_checkpoint
from recbole_hm4sr.train.row_files import (
    REFERENCE,
    ROW_FILES,
    RowReader,
    named_files,
    read_rows,
    remove_others,
    require_rows,
)

_log = logging.getLogger(__name__)

# What a state has that changes the scores.
SCORING = ("epoch", "state_dict", "other_parameter")


def settings_to_meet(values: Mapping[str, Any]) -> str:
    """The settings that the parts of one run have in common, as JSON.

    Where and how fast it runs, what it reports and when it ends may differ.
    """
    free = settings_with("machine") | settings_with("free on resume")
    return json.dumps({k: v for k, v in values.items() if k not in free}, default=str)


def best_file(view: str) -> str:
    """Name of the checkpoint of a view's best epoch; an empty name for the first view."""
    return f"best-{view}.pt" if view else "best.pt"


class CheckpointFolder:
    """Reads and writes the checkpoints of a run; refuses those of others.

    Args:
        folder: Where they are.
        model: Name of the run's model.
        fingerprints: Hashes of its data and frozen features.
        settings: From :func:`settings_to_meet`.
    """

    def __init__(
        self, folder: Path, *, model: str, fingerprints: Mapping[str, str], settings: str
    ) -> None:
        self.folder = folder
        self.best, self.last = self.best_of(""), folder / "last.pt"
        self.previous = folder / "previous.pt"
        self._owner: dict[str, Any] = {
            "model": model,
            "fingerprints": dict(fingerprints),
            "settings": settings,
        }

    def best_of(self, view: str) -> Path:
        """The checkpoint of the best epoch so far of a view.

        Args:
            view: Its name; empty for the first.
        """
        return self.folder / best_file(view)

    def write_best(self, state: Mapping[str, Any], view: str = "") -> None:
        """Write the best epoch so far of a view.

        Args:
            state: Holds everything that changes the scores; what else it holds is not written.
            view: Its name; empty for the first.

        Raises:
            WriteError: If it cannot be written; the one before is still there.
        """
        scoring = {name: state[name] for name in (*SCORING, REFERENCE) if name in state}
        write_checkpoint(self.best_of(view), {**self._owner, **scoring})

    def write_last(self, state: Mapping[str, Any]) -> None:
        """Write the last epoch; the one before is kept as ``previous.pt``.

        Raises:
            WriteError: If it cannot be written; both of before are still there.
        """
        write_checkpoint(self.last, {**self._owner, **state}, keep_as=self.previous)

    def read(
        self, path: Path, device: torch.device | str = "cpu", reader: RowReader | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of this run.

        Args:
            path: The file.
            device: Where its tensors go.
            reader: Which rows of items are wanted; None for all.

        Raises:
            CheckpointError: If it is damaged or of another run, with the reason.
        """
        return read_rows(self._read_file(path, device), path, reader, device)

    def _read_file(self, path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
        """A checkpoint as its own file holds it, which may name files of rows."""
        state = read_file(path, device)
        refuse_foreign(
            state, path, name=self._owner["model"], fingerprints=self._owner["fingerprints"]
        )
        with refusing_damage(path):
            ours = json.loads(self._owner["settings"])
            theirs = with_new_names(json.loads(state["settings"]))
        for name in sorted(ours.keys() & theirs.keys()):
            if ours[name] != theirs[name]:
                raise CheckpointError(
                    f"the checkpoint {path} must be of a run with {name}: {ours[name]}, got "
                    f"{theirs[name]}; put the run's own settings or checkpoint back"
                )
        return state

    def read_last(
        self, device: torch.device | str = "cpu", reader: RowReader | None = None
    ) -> dict[str, Any] | None:
        """The newest good state to resume from; None if no epoch has ended yet.

        Args:
            device: Where its tensors go.
            reader: Which rows of items are wanted; None for all.

        Raises:
            CheckpointError: If there are checkpoints and none is good, with the reasons.
            WriteError: If the folder may not be written to.
        """
        reasons = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                state = self.read(path, device, reader)
            except CheckpointError as error:
                reasons.append(str(error))
                continue
            if reasons:
                _log.warning("%s; resuming from the epoch before it, %s", reasons[0], path)
                self._promote(path)
            return state
        if reasons:
            raise CheckpointError("; ".join([*dict.fromkeys(reasons), self._way_out()]))
        return None

    def _promote(self, path: Path) -> None:
        """Replace a damaged ``last.pt`` by a good file, which the next epoch would push out."""
        try:
            path.replace(self.last)
        except OSError as error:
            raise WriteError(f"cannot write {self.last}: {error.strerror}") from error

    def mend_best(self, last_epoch: int, best_epoch: int, view: str = "") -> None:
        """Write a view's best epoch from another checkpoint if it is damaged or an earlier one.

        Args:
            last_epoch: That the run resumes from, from 0.
            best_epoch: The view's best epoch so far, from 0; -1 if there is none.
            view: Its name; empty for the first.

        Raises:
            CheckpointError: If no checkpoint has that epoch any more.
            WriteError: If it cannot be written.
        """
        if best_epoch < 0:
            return
        reason = self._wrong_with_best(self.best_of(view), last_epoch, best_epoch)
        if reason is None:
            return
        source = self._of_epoch(best_epoch)
        if source is None:
            raise CheckpointError(f"{reason}; {self._way_out()}")
        _log.warning("%s; written again from another checkpoint of that epoch", reason)
        self.write_best(source, view)

    def _wrong_with_best(self, path: Path, last_epoch: int, best_epoch: int) -> str | None:
        try:
            state = self._read_file(path)
            require_rows(path, state)
        except CheckpointError as error:
            return str(error)
        epoch = int(state["epoch"])
        # A later one is of an epoch that is trained again, and then written again.
        if epoch == best_epoch or epoch > last_epoch:
            return None
        return (
            f"the checkpoint {path} must be of epoch {best_epoch + 1}, the best so far, "
            f"got epoch {epoch + 1}"
        )

    def _of_epoch(self, epoch: int) -> dict[str, Any] | None:
        """The checkpoint of one of the last two epochs, as its file holds it."""
        for path in (self.last, self.previous):
            try:
                state = self._read_file(path)
            except CheckpointError:
                continue
            if state["epoch"] == epoch:
                return state
        return None

    def remove_rows(self) -> None:
        """Remove the files of rows that no checkpoint names any more."""
        if not any(self.folder.glob(ROW_FILES)):
            return
        try:
            named = [name for path in self._files() for name in named_files(self._read_file(path))]
        except CheckpointError as error:
            _log.warning("files of rows are not removed, since %s", error)
            return
        remove_others(self.folder, named)

    def make_whole(self) -> None:
        """Write every checkpoint as one process would have: with its rows.

        Raises:
            CheckpointError: If one cannot be read.
            WriteError: If one cannot be written; the one before is still there.
        """
        for path in self._files():
            try:
                if named_files(self._read_file(path)):
                    write_checkpoint(path, self.read(path))
            except CheckpointError as error:
                if path != self.previous:
                    raise
                _log.warning("%s; it is needed no more", error)
                path.unlink(missing_ok=True)
        self.remove_rows()

    def _files(self) -> list[Path]:
        bests = self.folder.glob(best_file("*"))
        every = (self.best, *sorted(bests), self.last, self.previous)
        return [path for path in every if path.exists()]

    def _way_out(self) -> str:
        folder = self.last.parent
        return f"remove {folder} and --resume {folder.parent} to train from the first epoch"
