"""Files that a crash leaves whole: written under another name, or a line at a time; and locks."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from recbole_hm4sr.base.errors import ConfigError, DataError, WriteError
from recbole_hm4sr.base.system import is_alive, lock_file

# What is cut from the ends of an id. All other spaces (no-break, thin, ideographic) are letters.
ASCII_BLANKS = " \t"


def write_whole(
    path: Path, fill: Callable[[BinaryIO], Any], *, keep_as: Path | None = None
) -> None:
    """Write a file; the one before it stays until the new one is complete on the disk.

    Args:
        path: Where it will be; its folder is made if need be.
        fill: Writes the content to the open file.
        keep_as: Where the file before it goes, in the same folder; None to replace it.

    Raises:
        WriteError: If it cannot be written.
    """
    # The process's number keeps two writers of the same file apart.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_npz(path: Path, arrays: Mapping[str, Any], *, compress: bool = False) -> None:
    """Write arrays as an ``.npz`` file that can be read without unpickling.

    NumPy before 2 has no argument that refuses objects: it would store it as one more array.

    Args:
        path: Where it will stand.
        arrays: By name.
        compress: Whether to make the file small rather than quick to read.

    Raises:
        TypeError: If an array holds objects.
        WriteError: If it cannot be written.
    """
    import numpy as np

    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise TypeError(f"arrays of objects cannot be kept: {', '.join(objects)}")
    save = np.savez_compressed if compress else np.savez
    write_whole(path, lambda file: save(file, **arrays))


def _sync_folder(folder: Path) -> None:
    """Have the disk keep the new name: a renamed file may otherwise be gone after a power cut."""
    # Some file systems cannot, and a folder may be writable and not readable: the file is there.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all.

    Raises:
        WriteError: If it cannot be written.
    """
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line of JSON and wait until the disk has it; a torn line before it stays alone.

    Raises:
        DataError: If it cannot be written.
    """
    line = json.dumps(record) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        # One write to a file opened for appending cannot mix with another's.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            content = (("\n" if torn else "") + line).encode()
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_lines(path: Path) -> list[tuple[int, dict[str, Any] | None]]:
    """The lines of a file of JSON lines, each with its number; None for one that is torn.

    Raises:
        DataError: If the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if line.strip():
            records.append((number, record if isinstance(record, dict) else None))
    return records


@contextlib.contextmanager
def locked(path: Path, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock, which goes with the process however it ends.

    Args:
        path: The file that is the lock; it stays, empty.
        refusal: What to say if another process holds it; None waits until it is free.

    Raises:
        ConfigError: If another process holds it and ``refusal`` is given.
        DataError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise DataError(f"cannot write {path.parent}: {error.strerror}") from error
    with file:
        try:
            lock_file(file, wait=refusal is None)
        except BlockingIOError as error:
            raise ConfigError(refusal or "") from error
        except OSError as error:
            raise DataError(f"cannot lock {path}: {error.strerror}") from error
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; those of living ones stay."""
    for path in folder.glob(".*.new"):
        writer = re.fullmatch(r"\..+\.(\d+)\.new", path.name)
        number = int(writer.group(1)) if writer else None
        # This process writes nothing now: a file of its number is of an earlier process.
        if number is not None and (number == os.getpid() or not is_alive(number)):
            with contextlib.suppress(OSError):
                path.unlink()
