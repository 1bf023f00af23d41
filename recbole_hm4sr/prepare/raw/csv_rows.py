"""Rows of a CSV file, whatever is broken beside them: a bad line costs itself and no other.

A quotation mark that never closes would make one cell of the rest of the file. So a quotation that
is open at the end of a line is followed only as far as a row can be long. If it does not close
where a cell can end, or closes into a row of another width, the line in which it opened is left
out, and reading goes on with the line after it.
"""

import codecs
import io
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.raw_lines import FileFacts, RawLines

UTF8 = "utf-8"
TOO_FEW, TOO_MANY = "line has too few columns", "line has too many columns"
BROKEN_QUOTATION, TOO_LONG = "line has a broken quotation", "line is too long"
MAX_ROW = 2_000_000  # characters
_QUOTED = re.compile('[^"]*(?:""[^"]*)*')
BAD = "\udfff"  # half a character: what bytes that are none become
_DONE, _OPEN, _BROKEN = range(3)

Row = tuple[int, list[str] | str]


def _mark_bad(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD, error.end


codecs.register_error("hm4sr_mark_bad", _mark_bad)


class CsvRows:
    """The rows of one file, once.

    Attributes:
        header: Names of the columns, each once whatever its case; bytes that are no text are BAD.
        n_lines: Lines given out so far, the header among them.
        n_rows: Rows given out so far, whether they can be used or not.
    """

    def __init__(self, path: Path, encoding: str = UTF8) -> None:
        r"""Read the first line; the likeliest sign in it separates columns.

        Args:
            path: The file, plain or gzip. Its lines end with ``\n``, ``\r\n`` or ``\r``.
            encoding: A codec of Python.

        Raises:
            DataError: If the file cannot be read, or its first line has a broken quotation.
        """
        self.path, self.encoding = path, encoding
        self.n_lines = self.n_rows = 0
        self._raw = RawLines(path)
        self._lines = self._read()
        self._ahead: deque[str] = deque()
        head = next(self._lines, "").removeprefix("\ufeff")
        self.n_lines = 1
        self._sign = max(",\t;|", key=head.count)
        cells: list[str] = []
        if _scan(head, self._sign, cells, []) != _DONE:
            raise DataError(f"{path}, line 1 must close its quotations; mend it")
        self.header = _unique(cells)

    @property
    def n_bytes(self) -> int:
        """Bytes of the file read so far, packed if it is."""
        return self._raw.n_bytes

    @property
    def facts(self) -> FileFacts:
        """Size, lines and hash; whole once the rows have been read to the end."""
        self._raw.n_lines = self.n_lines
        return replace(self._raw.facts, n_rows=self.n_rows)

    def rows(self, plain: Collection[int]) -> Iterator[Row]:
        """Rows below the header; blank lines are none.

        Args:
            plain: Places of cells that cannot go over several lines, as names and times.

        Yields:
            The number of a row's first line, from 1, and its cells, or why it has none.
        """
        while True:
            line = self._ahead.popleft() if self._ahead else next(self._lines, None)
            if line is None:
                return
            self.n_lines += 1
            if not line:
                continue
            self.n_rows += 1
            number, (row, n_more) = self.n_lines, self._row(line, plain)
            for _ in range(n_more):
                self._ahead.popleft()
            self.n_lines += n_more
            yield number, row

    def _row(self, line: str, plain: Collection[int]) -> tuple[list[str] | str, int]:
        """The row that begins with a line, and how many more lines it takes."""
        if BAD in line:
            return not_encoded(self.encoding), 0
        if len(line) > MAX_ROW:
            return TOO_LONG, 0
        if '"' not in line:
            return self._judge(line.split(self._sign)), 0
        cells: list[str] = []
        parts: list[str] = []
        state = _scan(line, self._sign, cells, parts)
        if state == _OPEN:
            n_more = self._follow(len(line), cells, parts)
            good = n_more and len(cells) == len(self.header)
            if good and not any("\n" in cells[place] for place in plain):
                return cells, n_more
        return (self._judge(cells) if state == _DONE else BROKEN_QUOTATION), 0

    def _judge(self, cells: list[str]) -> list[str] | str:
        if len(cells) == len(self.header):
            return cells
        return TOO_FEW if len(cells) < len(self.header) else TOO_MANY

    def _follow(self, length: int, cells: list[str], parts: list[str]) -> int:
        """How many lines it takes to close an open quotation; 0 if it does not close well."""
        for n_more, line in enumerate(self._peek(), start=1):
            length += len(line) + 1
            if length > MAX_ROW or BAD in line:
                return 0
            state = _scan(line, self._sign, cells, parts)
            if state != _OPEN:
                return n_more if state == _DONE else 0
        return 0

    def _peek(self) -> Iterator[str]:
        """The lines that come next; they stay ahead."""
        yield from list(self._ahead)
        for line in self._lines:
            self._ahead.append(line)
            yield line

    def _read(self) -> Iterator[str]:
        decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(self.encoding)("hm4sr_mark_bad"), translate=True
        )
        rest = ""
        for piece in self._raw.pieces():
            self._raw.n_lines = self.n_lines  # for its sentence on a gzip file that is broken
            lines = (rest + decoder.decode(piece)).split("\n")
            # Of a line that is too long anyway, no more is kept than shows it.
            rest = lines.pop()[: MAX_ROW + 1]
            yield from lines
        lines = (rest + decoder.decode(b"", final=True)).split("\n")
        yield from (lines if lines[-1] else lines[:-1])


def check_encoding(flag: str, encoding: str) -> None:
    """Refuse what is no encoding of text.

    Args:
        flag: What gives it.
        encoding: Its name.

    Raises:
        ConfigError: If Python has none of this name.
    """
    try:
        "".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"--{flag} must be an encoding such as utf-8, utf-16 or cp1252, got {encoding!r}"
        ) from error


def not_encoded(encoding: str) -> str:
    """Why a line has no row, if its bytes are no text of an encoding."""
    return f"line is not {encoding.upper()}"


def _scan(line: str, sign: str, cells: list[str], parts: list[str]) -> int:
    """Add the cells of a line.

    Args:
        line: The line.
        sign: What separates cells.
        cells: Where they are added.
        parts: The lines so far of a cell whose quotation is open; empty if none is.

    Returns:
        Whether the row ends with the line, a quotation is open, or one is broken.
    """
    place = 0
    while True:
        if parts or line.startswith('"', place):
            found = _QUOTED.match(line, place if parts else place + 1)
            assert found  # it matches nothing as well
            parts.append(found[0].replace('""', '"'))
            place = found.end() + 1
            if place > len(line):
                return _OPEN
            cells.append("\n".join(parts))
            parts.clear()
            if place < len(line) and line[place] != sign:
                return _BROKEN
        else:
            end = line.find(sign, place)
            cells.append(line[place:] if end < 0 else line[place:end])
            place = len(line) if end < 0 else end
        if place >= len(line):
            return _DONE
        place += 1


def _unique(cells: list[str]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(cells):
        name = cell.strip() or f"column{number}"
        while name.lower() in map(str.lower, names):
            name += "_1"
        names.append(name)
    return names
