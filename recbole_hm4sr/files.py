"""Write a file whole or not at all: to a temporary name beside it, then renamed."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from recbole_hm4sr.errors import WriteError


def write_whole(
    path: Path, fill: Callable[[BinaryIO], Any], *, keep_as: Path | None = None
) -> None:
    """Write a file; what stood there before stays until the new one is complete on the disk.

    Args:
        path: Where it will stand; its folder is made if need be.
        fill: Writes the content to the open file.
        keep_as: Where what stood there before goes, in the same folder; None to replace it.

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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; those of living ones stay."""
    for path in folder.glob(".*.new"):
        writer = re.fullmatch(r"\..+\.(\d+)\.new", path.name)
        if writer and not _is_alive(int(writer.group(1))):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # this process writes nothing now: its number was another's before
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
