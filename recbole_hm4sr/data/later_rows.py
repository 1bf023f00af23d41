"""Interactions that came after a run's data, as a value, and behind those data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.npz import DAMAGE

Array = np.ndarray[Any, Any]
_FORMAT = "recbole-hm4sr later interactions 1"
_TOKENS = ("users", "items")


def kept_rows(run_dir: Path, file_hash: str) -> Path:
    """Where a run keeps the interactions that a file has brought.

    Args:
        run_dir: Folder of the run.
        file_hash: SHA-256 of the file.
    """
    return run_dir / "added" / f"{file_hash}.npz"


@dataclass(frozen=True)
class LaterRows:
    """Interactions by raw token, oldest first; equal times in the order in which they were given.

    Attributes:
        users: Shape ``[N]``, object of ``str``.
        items: Shape ``[N]``, object of ``str``.
        times: In the unit of the data. Shape ``[N]``, int64.
    """

    users: Array
    items: Array
    times: Array

    @classmethod
    def in_order(cls, users: Array, items: Array, times: Array) -> "LaterRows":
        """Interactions in any order."""
        order = np.argsort(times, kind="stable")
        return cls(users[order], items[order], times[order])

    def __len__(self) -> int:
        return len(self.times)

    def where(self, flags: Array) -> "LaterRows":
        """Some of them, by flags of shape ``[N]``, bool, or by number."""
        return LaterRows(self.users[flags], self.items[flags], self.times[flags])

    def beside(self, others: "LaterRows") -> "LaterRows":
        """These and others, in order."""
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return LaterRows.in_order(*(np.concatenate(pair) for pair in pairs))

    def save(self, path: Path) -> None:
        """Write the file that :meth:`load` reads.

        Raises:
            WriteError: If it cannot be written.
        """
        tokens = {name: np.asarray(getattr(self, name), dtype=np.str_) for name in _TOKENS}
        write_npz(path, {"format": np.array(_FORMAT), **tokens, "times": self.times}, compress=True)

    @classmethod
    def load(cls, path: Path) -> "LaterRows":
        """Read interactions that a run keeps.

        Raises:
            DataError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
            if str(arrays["format"]) != _FORMAT:
                raise ValueError(f"its format is {str(arrays['format'])!r}")
            users, items = (arrays[name].astype(object) for name in _TOKENS)
            return cls(users, items, arrays["times"])
        except DAMAGE as error:
            raise DataError(
                f"{path} must hold the interactions that a file has brought to the run, but: "
                f"{error}; a run that was refreshed by an older release keeps none, so train it "
                f"anew on all data"
            ) from error

    def among(self, others: "LaterRows") -> Array:
        """Which of these others have too. Shape ``[N]``, bool."""
        names = ["users", "items", "times"]
        there = pd.DataFrame(vars(others)).drop_duplicates()
        found = pd.DataFrame(vars(self)).merge(there, on=names, how="left", indicator=True)
        return (found["_merge"] == "both").to_numpy()


def append_rows(
    frame: pd.DataFrame, rows: LaterRows, names: tuple[str, str, str]
) -> tuple[pd.DataFrame, Array]:
    """A frame of interactions with later ones behind it; other columns of theirs have no value.

    Args:
        frame: After all filters, tokens not yet numbered.
        rows: What came later; no filter is applied to it. Those that the frame has are left out.
        names: Of the columns of users, items and times.

    Returns:
        The frame, and the numbers of the rows that stand behind it, rising; int64.
    """
    before = frame.astype(dict.fromkeys(names[:2], object))
    there = LaterRows(*(before[name].to_numpy() for name in names))
    new = np.flatnonzero(~rows.among(there))
    appended = pd.DataFrame(dict(zip(names, vars(rows.where(new)).values(), strict=True)))
    return pd.concat([before, appended], ignore_index=True), new
