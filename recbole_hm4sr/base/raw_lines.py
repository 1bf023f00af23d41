"""Lines of a plain or gzip file, block by block, with the file's hash made on the way.

Memory is bounded whatever the file holds: a block is decompressed in pieces, and a line has a
largest length.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recbole_hm4sr.base.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE = 1 << 24
_BLOCK = 1 << 18
_GZIP_WINDOW = 31  # zlib's word for "with a gzip header"


@dataclass(frozen=True)
class FileFacts:
    """What identifies a file that was read.

    Attributes:
        n_bytes: Its size as it lies on the disk.
        n_lines: Lines it holds, unpacked; of a file without lines, its rows.
        n_rows: Records it holds, whether they can be used or not.
        sha256: Of its bytes as they lie on the disk.
    """

    n_bytes: int
    n_lines: int
    n_rows: int
    sha256: str


class RawLines:
    """The lines of one file, once.

    Attributes:
        path: The file.
        n_bytes: Bytes of it read so far, packed if it is.
        n_lines: Lines given out so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_bytes = 0
        self.n_lines = 0
        self._hash = hashlib.sha256()

    @property
    def facts(self) -> FileFacts:
        """Size, lines and hash; whole once the lines have been read to the end."""
        return FileFacts(self.n_bytes, self.n_lines, self.n_lines, self._hash.hexdigest())

    def blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Lines without their ends, some thousands at a time.

        Yields:
            The number of the first line, from 1, and the lines.

        Raises:
            DataError: If the file cannot be read, is empty, is a gzip file that is cut short or
                broken, or has a line too long to be a record.
        """
        rest = b""
        for piece in self.pieces():
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE:
                raise DataError(
                    f"{self.path}, line {self.n_lines + len(lines) + 1} must be shorter than "
                    f"{MAX_LINE >> 20} MiB, got more; give a file with one record a line"
                )
            if lines:
                yield self._number(lines)
        if rest:
            yield self._number([rest])
        if not self.n_lines:
            raise DataError(f"{self.path} must hold one record a line, got an empty file")

    def _number(self, lines: list[bytes]) -> tuple[int, list[bytes]]:
        first = self.n_lines + 1
        if first == 1:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        self.n_lines += len(lines)
        return first, lines

    def pieces(self) -> Iterator[bytes]:
        """The file's bytes, unpacked, some hundred thousand at a time.

        Raises:
            DataError: If the file cannot be read, or is a gzip file that is cut short or broken.
        """
        try:
            with self.path.open("rb") as file:
                packed = file.read(2) == GZIP_MAGIC
                file.seek(0)
                yield from self._unpack(file) if packed else self._read(file)
        except FileNotFoundError as error:
            raise DataError(f"the file {self.path} does not exist") from error
        except OSError as error:
            raise DataError(f"cannot read the file {self.path}: {error.strerror}") from error

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        while block := file.read(_BLOCK):
            self._hash.update(block)
            self.n_bytes += len(block)
            yield block

    def _unpack(self, file: BinaryIO) -> Iterator[bytes]:
        member: Any = zlib.decompressobj(_GZIP_WINDOW)
        try:
            for block in self._read(file):
                waiting = block
                while waiting:
                    # A file may be several gzip files one after the other, padded with zeros.
                    if member.eof:
                        waiting = waiting.lstrip(b"\0")
                        member = zlib.decompressobj(_GZIP_WINDOW) if waiting else member
                        if not waiting:
                            break
                    yield member.decompress(waiting, 4 * _BLOCK)
                    waiting = member.unused_data if member.eof else member.unconsumed_tail
        except zlib.error as error:
            raise self._broken(f"is broken ({error})") from error
        if not member.eof:
            raise self._broken("ends too early")

    def _broken(self, how: str) -> DataError:
        return DataError(
            f"{self.path} must be a whole gzip file, but it {how} after line {self.n_lines:,}; "
            f"fetch it again"
        )


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: BinaryIO) -> str:
    """The SHA-256 of what is left of an open file, read in blocks."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
