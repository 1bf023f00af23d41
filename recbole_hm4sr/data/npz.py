"""Read plain arrays from an ``.npz`` file that may come from anywhere.

NumPy takes the memory that a header asks for before it reads what is behind it, and unpacks what
may unpack to a thousand times its size. So the headers are read first and held to what the archive
says, to each other and to the machine's memory; no member is ever unpickled or extracted.
"""

import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.system import total_memory
from recbole_hm4sr.base.text_files import looks_like
from recbole_hm4sr.data import matrices

Array = np.ndarray[Any, Any]
# What zipfile, zlib and NumPy raise for a damaged file, memory that is not there among them.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    SystemError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def read_npz(path: Path, names: Sequence[str], *, map_values: bool = False) -> dict[str, Array]:
    """Arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        names: Members that it must hold; others are not read.
        map_values: Whether to map an uncompressed member ``values``, and add ``finite``: which of
            its rows hold finite values only.

    Raises:
        DataError: If it is missing, damaged, lacks a member, needs unpickling, or is larger than
            the machine's memory.
    """
    try:
        with path.open("rb") as file:
            kind = looks_like(file.read(512))
            if kind is not None and "zip" not in kind[0]:
                raise DataError(f"{path} must be an .npz archive, but is {kind[0]}")
            file.seek(0)
            with zipfile.ZipFile(file) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of NumPy, on headers as Python 2 wrote them
                return _read_members(path, archive, names, map_values=map_values)
    except FileNotFoundError as error:
        raise DataError(f"the feature file {path} does not exist") from error
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(
            f"{path} must be an .npz file of plain arrays, but: {first_sentence(error)}"
        ) from error


def first_sentence(error: Exception) -> str:
    """What a library says of a damaged file, without its advice; its kind if it says nothing."""
    lines = str(error).splitlines() or [""]
    return lines[0].split(". ")[0][:200].strip() or type(error).__name__


def _read_members(
    path: Path, archive: zipfile.ZipFile, names: Sequence[str], *, map_values: bool
) -> dict[str, Array]:
    members, total = {}, 0
    for name in names:
        member = members[name] = _find_member(path, archive, name)
        with archive.open(member) as file:
            n_bytes = _count_bytes(file, name, member.file_size)
            is_mapped = map_values and name == "values" and not member.compress_type
            total += 0 if is_mapped else n_bytes
    memory = total_memory()
    if total > memory:
        raise DataError(
            f"{path} must fit into memory, got arrays of {total / 2**30:,.1f} GiB on a machine of "
            f"{memory / 2**30:,.1f} GiB"
        )
    arrays = {}
    mapped = matrices.map_values(archive) if map_values else None
    if mapped is not None:
        arrays["values"], arrays["finite"] = mapped
        del members["values"]
    for name, member in members.items():
        with archive.open(member) as file:
            arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the end, where zipfile compares the check sum
        _require_text(name, arrays[name])
    return arrays


def _find_member(path: Path, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    held = [member.removesuffix(".npy") for member in archive.namelist()]
    if name not in held:
        raise DataError(f"{path} must hold {name!r}, got {', '.join(sorted(held)) or 'nothing'}")
    if held.count(name) > 1:
        raise DataError(f"{path} must hold {name!r} once, got it {held.count(name)} times")
    return archive.infolist()[held.index(name)]


def _require_text(name: str, array: Array) -> None:
    """NumPy keeps any four bytes as a letter, and fails with a SystemError where it is read."""
    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return
    number = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
    codes = np.ascontiguousarray(array).reshape(-1).view(number)
    # Beyond Unicode, or half of a pair, which no file and no terminal takes.
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise ValueError(f"{name} holds numbers that are no letters")


def _count_bytes(file: IO[bytes], name: str, size: int) -> int:
    """Bytes of the array that a member's header describes; they must be there."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version in ((2, 0), (3, 0)):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{name} has the unknown version {version}")
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects, which would have to be unpickled")
    count = 1
    for length in shape:
        if length < 0:
            raise ValueError(f"{name} has the shape {shape}")
        count *= length
    n_bytes = count * dtype.itemsize
    if n_bytes != size - file.tell():
        raise ValueError(
            f"{name} has the shape {shape} and type {dtype}, {n_bytes:,} bytes, but "
            f"{size - file.tell():,} are there"
        )
    return n_bytes
