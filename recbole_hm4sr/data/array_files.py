"""Arrays in files of their own, named by their hash, mapped into memory where they are read.

However many processes map a file, the machine holds it once. A file never changes: whoever names it
by its hash finds what was written, or is told that it is gone or damaged.
"""

import contextlib
import hashlib
import io
import json
import mmap
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError, WriteError
from recbole_hm4sr.base.files import locked, remove_leftovers, write_text
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.npz import DAMAGE, first_sentence
from recbole_hm4sr.data.times import DAY_SECONDS

Array = np.ndarray[Any, Any]
_SUFFIX = ".npy"
_HASH = r"[0-9a-f]{64}"
_BYTES_AT_A_TIME = 1 << 24
_UNUSED_DAYS = 30
# What an index may be that is gone or is none of ours.
_DAMAGED_INDEX = (DataError, OSError, ValueError, TypeError, AttributeError)


class ArrayWriter:
    """Writes an array piece after piece; its file gets its name once it is whole.

    Args:
        folder: Where it will be; made if need be.
        dtype: Of the values, not objects.
        shape: Of the whole array.

    Raises:
        WriteError: If it cannot be written; :meth:`write` and :meth:`close` as well.
    """

    def __init__(self, folder: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self._folder, self._dtype, self._left = folder, np.dtype(dtype), shape[0]
        self._digest = hashlib.sha256()
        # One process may write several arrays at once.
        self._temporary = folder / f".{id(self)}.{os.getpid()}.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise self._refusal(error) from error
        header = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self._dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": descr, "fortran_order": False, "shape": shape}
        )
        self._put(header.getvalue())

    def write(self, values: Array) -> None:
        """Add rows behind those before."""
        self._left -= len(values)
        rows = max(1, _BYTES_AT_A_TIME // max(1, values[:1].nbytes))
        for begin in range(0, len(values), rows):
            part = np.ascontiguousarray(values[begin : begin + rows], dtype=self._dtype)
            self._put(part.tobytes())

    def close(self) -> str:
        """End the file.

        Returns:
            Its hash, by which :func:`open_array` finds it.

        Raises:
            ValueError: If rows are missing, or there are too many.
        """
        if self._left:
            self.abandon()
            raise ValueError(f"the rows must be as many as announced, {self._left} are missing")
        name = self._digest.hexdigest()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._folder / (name + _SUFFIX))
        except OSError as error:
            self.abandon()
            raise self._refusal(error) from error
        return name

    def abandon(self) -> None:
        """Remove what was written, where it has no name yet."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _put(self, content: bytes) -> None:
        self._digest.update(content)
        try:
            self._file.write(content)
        except OSError as error:
            self.abandon()
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> WriteError:
        return WriteError(f"cannot write {self._folder}: {error.strerror or error}")


def write_array(folder: Path, array: Array) -> str:
    """Write an array, of one dimension or more, whole or not at all.

    Returns:
        Its hash, by which :func:`open_array` finds it.

    Raises:
        WriteError: If it cannot be written.
    """
    writer = ArrayWriter(folder, array.dtype, array.shape)
    writer.write(array)
    return writer.close()


def keep_array(folder: Path, array: Array) -> str:
    """Write an array, or give the file that it is mapped from a second name in a folder.

    Args:
        folder: Where it is wanted.
        array: Perhaps of :func:`open_array`.

    Returns:
        Its hash.

    Raises:
        WriteError: If it cannot be written.
    """
    # A part of a mapped array has the name of the file, too, and another array as its base.
    whole = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    source = Path(getattr(array, "filename", None) or "")
    if whole and re.fullmatch(_HASH, source.stem):
        target = folder / source.name
        with contextlib.suppress(OSError):  # as from one disk to another: it is copied
            folder.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(source, target)
            return source.stem
    return write_array(folder, array)


def open_array(folder: Path, name: str) -> Array:
    """Map an array; who writes into it changes a copy of his own.

    Args:
        folder: Where it was written.
        name: Its hash.

    Raises:
        DataError: If its file is missing, or is not what was written.
    """
    path = folder / (name + _SUFFIX)
    remedy = "copy the folder of the run again, or train the run anew"
    try:
        found = hash_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} must be there, since the run's files name it; {remedy}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if found != name:
        raise DataError(f"{path} must be as it was written, but is damaged; {remedy}")
    try:
        array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    except DAMAGE as error:
        raise DataError(f"{path} must be an array: {first_sentence(error)}") from error
    return array


def map_once(folder: Path, key: str, write: Callable[[], Mapping[str, str]]) -> dict[str, Array]:
    """Arrays that one process of a machine makes, mapped.

    Before others are made, those that no process has asked for in 30 days are removed.

    Args:
        folder: Of the files.
        key: Of all that the arrays are made of; what is there already is not made again.
        write: Writes them into the folder; returns their hashes by name.

    Raises:
        DataError: If they cannot be written.
    """
    index = folder / f"{key}.json"
    with locked(folder / f"{key}.lock"):
        if index.is_file():
            # What is gone or damaged is made again.
            with contextlib.suppress(*_DAMAGED_INDEX):
                found = _open_arrays(folder, _names_of(index))
                with contextlib.suppress(OSError):  # of another user
                    os.utime(index)
                return found
        remove_leftovers(folder)
        _remove_unused(folder)
        names = write()
        write_text(index, json.dumps(dict(names)) + "\n")
        return _open_arrays(folder, names)


def _remove_unused(folder: Path) -> None:
    """Remove the files that no process has asked for of late; who has mapped them keeps them."""
    oldest = time.time() - _UNUSED_DAYS * DAY_SECONDS
    named: set[str] = set()
    for index in folder.glob("*.json"):
        with contextlib.suppress(*_DAMAGED_INDEX):
            if index.stat().st_mtime < oldest:
                index.unlink()
            else:
                named |= set(_names_of(index).values())
    # What another process has just written is not named yet, and is new.
    for path in folder.glob("*" + _SUFFIX):
        with contextlib.suppress(OSError):
            if path.stem not in named and path.stat().st_mtime < oldest:
                path.unlink()


def _names_of(index: Path) -> dict[str, str]:
    """The hashes of arrays that were made, by name."""
    return {str(name): str(it) for name, it in json.loads(index.read_text("utf-8")).items()}


def _open_arrays(folder: Path, names: Mapping[str, str]) -> dict[str, Array]:
    return {name: open_array(folder, value) for name, value in names.items()}


def remove_arrays(folder: Path, keep: Collection[str]) -> None:
    """Remove the arrays of a folder that nobody names any more; a file in use may stay.

    Args:
        folder: Need not exist.
        keep: Hashes of those that stay.
    """
    for path in folder.glob("*" + _SUFFIX):
        if path.stem not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
