"""Who runs which cell of a comparison: files that one process makes and keeps alive.

A claim is a file in ``.claims`` of the comparison's folder, whose making is atomic on network file
systems too, where locks are not to be trusted. Its owner sets its time again and again. A claim
whose time has not changed for a while, by the watch of whoever looks, is of a dead process: another
one makes the claim of the next number, which again one process alone can do. An owner that was
asleep finds a higher number beside its own, and leaves the cell to the other.
"""

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.system import is_alive

DEAD_AFTER = 60.0  # seconds without a sign of life
_BEATS = 6  # in the time after which a process counts as dead


@dataclass
class Claim:
    """A cell that this process runs.

    Attributes:
        path: The file.
        is_lost: Whether another process has taken the cell over, or somebody removed the file.
    """

    path: Path
    is_lost: bool = False

    def beat(self) -> None:
        """Say that its owner is alive; or notice that it counted as dead."""
        with contextlib.suppress(OSError):  # a disk that is away for a moment
            self.is_lost = _of_cell(self.path)[-1:] != [self.path]
            if not self.is_lost:
                os.utime(self.path)


@dataclass
class Claims:
    """The claims of a comparison, as one process sees them.

    Attributes:
        folder: Where the files are.
        dead_after: Seconds without a sign of life after which a process counts as dead.
    """

    folder: Path
    dead_after: float
    _held: list[Claim] = field(default_factory=list)
    _seen: dict[Path, tuple[int, float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Claims":
        """Begin to give signs of life."""
        threading.Thread(target=self._keep_alive, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give back what is still held."""
        self._ended.set()
        for claim in [*self._held]:
            self.release(claim)
        with contextlib.suppress(OSError):  # others may still be at work
            self.folder.rmdir()

    def take(self, name: str) -> Claim | None:
        """Claim a cell; None while a living process has it.

        Args:
            name: Of the cell, a path inside the comparison's folder.

        Raises:
            DataError: If the file cannot be written.
        """
        first = self.folder / f"{name.replace(os.sep, '~')}.0"
        path = first
        for newest in _of_cell(first)[-1:]:
            if not self._is_dead(newest):
                return None
            path = newest.with_suffix(f".{_number(newest) + 1}")
        owner = {"host": socket.gethostname(), "process": os.getpid()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(owner) + "\n")
        except FileExistsError:
            return None
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}") from error
        claim = Claim(path)
        self._held.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give a cell back; if it is finished, after its result is written."""
        self._held.remove(claim)
        claim.beat()
        if claim.is_lost:
            return
        for path in _of_cell(claim.path):  # its own last
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _keep_alive(self) -> None:
        while not self._ended.wait(self.dead_after / _BEATS):
            for claim in [*self._held]:
                claim.beat()

    def _is_dead(self, path: Path) -> bool:
        """Whether nothing has been heard of the owner for long, or it has ended on this machine."""
        try:
            beat = path.stat().st_mtime_ns
            owner = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False  # just given back
        except (OSError, ValueError):
            owner = {}  # not written yet, or by a process that has died there
        now = time.monotonic()
        if self._seen.get(path, (0, 0.0))[0] != beat:
            self._seen[path] = beat, now
        if owner.get("host") == socket.gethostname() and not is_alive(owner.get("process", 0)):
            return True
        return now - self._seen[path][1] >= self.dead_after


def _of_cell(claim: Path) -> list[Path]:
    """The claims of a cell, by their numbers."""
    every = claim.parent.iterdir() if claim.parent.is_dir() else ()
    return sorted((it for it in every if it.stem == claim.stem), key=_number)


def _number(path: Path) -> int:
    return int(path.suffix[1:])
