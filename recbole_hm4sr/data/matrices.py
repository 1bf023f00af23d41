"""Large matrices by parts: mapped from an archive, checked and gathered a few rows at a time."""

import math
import mmap
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

Array = np.ndarray[Any, Any]
_MEMBER = "values.npy"
_LOCAL_HEADER_SIZE = 30  # of a zip archive, before the name and the extra field
_BYTES_AT_A_TIME = 1 << 22


def map_values(archive: zipfile.ZipFile) -> tuple[Array, Array] | None:
    """Map the member ``values`` of an uncompressed ``.npz`` archive, and read it once to check it.

    Args:
        archive: Open for reading, over a file. Where a new one is renamed over it later, the map
            stays with the old file; it must not be shortened or written in place.

    Returns:
        The values, read-only, shape ``[N, F]`` or ``[N, H, F]``, float16 or float32; and which rows
        hold finite values only, shape ``[N]``, bool. None if the member is of another kind
        (compressed, of other type or shape, column by column, not there): then it must be read.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: If the archive is damaged.
    """
    file: Any = archive.fp
    if _MEMBER not in archive.namelist():
        return None
    info = archive.getinfo(_MEMBER)
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(info) as member:  # compares the two headers
        header = _read_header(member)
    if header is None:
        return None
    shape, dtype, header_size = header
    if header_size + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{_MEMBER} must hold {' x '.join(map(str, shape))} values")
    begin = _data_offset(file, info)
    file.seek(begin)
    checksum = zlib.crc32(file.read(header_size))
    # The open file, not its name, which may be another file's by now.
    values = np.asarray(
        np.memmap(file, dtype=dtype, mode="r", offset=begin + header_size, shape=shape)
    )
    finite, checksum = check_rows(values.reshape(len(values), -1), checksum)
    if checksum != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {_MEMBER!r}")
    return values, finite


def _read_header(member: Any) -> tuple[tuple[int, ...], "np.dtype[Any]", int] | None:
    """Shape, type and size of the header of a matrix, or of layers, that can be mapped."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(member)
    if version not in read:
        return None
    shape, by_columns, dtype = read[version](member)
    can_map = dtype in (np.float16, np.float32) and len(shape) in (2, 3) and min(shape) > 0
    return (tuple(shape), dtype, member.tell()) if can_map and not by_columns else None


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the data of a member begin; the lengths before them stand in its local header."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_SIZE)
    name, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    return info.header_offset + _LOCAL_HEADER_SIZE + name + extra


def rows_at_a_time(values: Array) -> int:
    """Rows of a matrix that fill a few megabytes."""
    return max(1, _BYTES_AT_A_TIME // max(1, values.shape[1] * values.itemsize))


def check_rows(values: Array, checksum: int = 0) -> tuple[Array, int]:
    """Read a matrix once, a few rows at a time; a mapped one takes no memory afterwards.

    Args:
        values: Shape ``[N, F]``, floating point.
        checksum: CRC-32 of what stands before the values.

    Returns:
        Which rows hold finite values only, shape ``[N]``, bool; and the checksum with the values.
    """
    finite = np.empty(len(values), dtype=bool)
    step = rows_at_a_time(values)
    for begin in range(0, len(values), step):
        part = np.ascontiguousarray(values[begin : begin + step])
        finite[begin : begin + step] = np.isfinite(part).all(axis=1)
        checksum = zlib.crc32(part.data, checksum)
    release_pages(values)
    return finite, checksum


def release_pages(values: Array) -> None:
    """Give the memory of a mapped matrix back; what is asked for later is read again.

    The pages stay in the system's cache as long as it has room, but no more count as memory of
    this process. A matrix that is not mapped is left alone.
    """
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def take_rows(values: Array, rows: Array) -> Array:
    """Rows of a matrix, half precision made single; zeros where the number is negative.

    Where all rows of a mapped matrix are taken, it takes no memory afterwards.

    Args:
        values: Shape ``[N, F]``.
        rows: Shape ``[R]``, int64.

    Returns:
        Shape ``[R, F]``, float32 (float64 of such values).
    """
    dtype = np.result_type(values.dtype, np.float32)
    taken = np.zeros((len(rows), values.shape[1]), dtype=dtype)
    step = rows_at_a_time(values)
    for begin in range(0, len(rows), step):
        part = rows[begin : begin + step]
        there = part >= 0
        if there.all():
            taken[begin : begin + step] = values[part]
        else:
            taken[begin : begin + step][there] = values[part[there]]
    if len(rows) >= len(values):
        release_pages(values)
    return taken
