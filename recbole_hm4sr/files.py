"""Write a file whole or not at all: to a temporary name beside it, then renamed."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from recbole_hm4sr.errors import DataError


def write_whole(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Write a file; what stood there before stays until the new one is complete on the disk.

    Args:
        path: Where it will stand; its folder is made if need be.
        fill: Writes the content to the open file.

    Raises:
        DataError: If it cannot be written.
    """
    # The process's number keeps two writers of the same file apart.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all.

    Raises:
        DataError: If it cannot be written.
    """
    write_whole(path, lambda file: file.write(text.encode("utf-8")))
