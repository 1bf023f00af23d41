"""Rows of histories that cannot be used: all of them named at once, or left out and counted."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import AtomicTable
from recbole_hm4sr.prepare.tables.drops import DropCounts

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_NAMED = 3
_ADVICE = "mend {}, or leave {} out with --skip_bad"


class Faults:
    """Rows of a table that cannot be used, each under the first reason that is found.

    Args:
        table: The rows that could be read.
        unread: Lines of its file that could not be, and why, as ``hm4sr prepare`` says it.
        of_file: Whether the rows are of a file, of which bad ones can be left out.

    Attributes:
        is_bad: Which rows of the table. Shape ``[N]``, bool.
    """

    def __init__(
        self,
        table: AtomicTable,
        unread: Sequence[tuple[int, str]] = (),
        *,
        of_file: bool = True,
    ) -> None:
        self._table, self._unread, self._of_file = table, unread, of_file
        self._found: list[tuple[Array, str, Callable[[int], str]]] = []
        self.is_bad = np.zeros(len(table.frame), dtype=bool)

    def __len__(self) -> int:
        return len(self._unread) + int(self.is_bad.sum())

    def add(self, flags: Array, reason: str, words: Callable[[int], str]) -> None:
        """Note rows that cannot be used, but for those that are noted already.

        Args:
            flags: Shape ``[N]``, bool.
            reason: What they are counted under, as ``hm4sr prepare`` says it.
            words: What is wrong with a row, by its number.
        """
        rows = np.flatnonzero(flags & ~self.is_bad)
        if len(rows):
            self._found.append((rows, reason, words))
            self.is_bad[rows] = True

    def settle(self, *, skip_bad: bool, refuse_most: bool = True) -> Array:
        """Which rows are kept; where some are not, the log says how many, and why.

        Args:
            skip_bad: Whether rows may be left out.
            refuse_most: Whether a table is refused of which more than half would be.

        Returns:
            Shape ``[N]``, bool.

        Raises:
            DataError: If rows are bad and may not be left out, or most of them are bad.
        """
        if not len(self):
            return ~self.is_bad
        path, n_rows = self._table.path, len(self._table.frame) + len(self._unread)
        counted = f"{len(self):,} of {n_rows:,}"
        if not skip_bad:
            raise DataError(self._sentence(counted))
        if refuse_most and 2 * len(self) > n_rows:
            raise DataError(
                f"{path} must have more rows that can be used, got {counted} that cannot: "
                f"{self._drops().sentence()}; mend it, or give the flags that fit it"
            )
        logger.warning("%s: %s rows are left out: %s", path, counted, self._drops().sentence())
        return ~self.is_bad

    def _sentence(self, counted: str) -> str:
        path, first = self._table.path, self._first()
        if len(first) == 1:
            advice = f"; {_ADVICE.format('it', 'it')}" if self._of_file else ""
            return f"{path}, {first[0]}{advice}"
        advice = f"; {_ADVICE.format('them', 'them')}" if self._of_file else ""
        more = ", ..." if len(self) > len(first) else ""
        return f"{path}: {counted} rows cannot be used: {'; '.join(first)}{more}{advice}"

    def _first(self) -> list[str]:
        """The first of all, in the order of the file, with what is wrong with each."""
        # AtomicTable counts the lines of a file from the one behind its header.
        found = [
            (line - 2, f"line {line} {reason.removeprefix('line ')}")
            for line, reason in self._unread[:_NAMED]
        ]
        for rows, _, words in self._found:
            for row in rows[:_NAMED].tolist():
                place = int(self._table.frame.index[row]) if self._of_file else row
                found.append((place, f"{self._table.place(row)}: {words(row)}"))
        return [text for _, text in sorted(found)[:_NAMED]]

    def _drops(self) -> DropCounts:
        drops = DropCounts()
        for line, reason in self._unread:
            drops.add(reason, f"line {line}")
        for rows, reason, _ in self._found:
            places = [self._table.place(row) for row in rows[:_NAMED].tolist()]
            drops.add_places(reason, len(rows), places)
        return drops
