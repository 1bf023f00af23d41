"""Times of interactions: whole numbers of one unit, which must be the unit declared."""

from typing import Any

import numpy as np

from recbole_hm4sr.data.atomic import AtomicTable, count_of
from recbole_hm4sr.errors import DataError

# Seconds above this are after the year 5138; milliseconds below it are before March 1973.
_SECONDS_LIMIT = 10**11
_MILLISECONDS_LIMIT = 10**14


def read_times(table: AtomicTable, column: str, unit: str) -> "np.ndarray[Any, Any]":
    """A time column as whole numbers of its unit, checked.

    Args:
        table: The file's columns.
        column: Name of the time column.
        unit: ``s`` or ``ms`` since the Unix epoch.

    Returns:
        Times in ``unit``. Shape ``[N]``, int64.

    Raises:
        DataError: If the column is no float column, a time is missing, infinite, negative or not
            whole, the values look like another unit than the one declared, or like two units mixed.
    """
    table.require_kind(column, "float")
    values = table.frame[column].to_numpy(dtype=np.float64)
    rules = (
        (~np.isfinite(values), "a finite number"),
        (values < 0, "0 or more (seconds since 1970, UTC)"),
        (
            values != np.floor(values),
            "a whole number" + ("; write milliseconds and set timestamp_unit: ms" * (unit == "s")),
        ),
    )
    for broken, rule in rules:
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise DataError(
                f"{table.line(row)}: {column} must be {rule}, got {values[row]:.15g}"
                f" ({count_of(int(broken.sum()), 'such line')})"
            )
    _check_unit(table, column, unit, values)
    return values.astype(np.int64)


def _check_unit(table: AtomicTable, column: str, unit: str, values: "np.ndarray[Any, Any]") -> None:
    large = values >= _SECONDS_LIMIT
    if (values >= _MILLISECONDS_LIMIT).any():
        row = int(np.argmax(values))
        raise DataError(
            f"{table.line(row)}: {column} must be in seconds or milliseconds, got "
            f"{values[row]:.15g}, which looks like microseconds or nanoseconds; divide the column"
        )
    # Times near zero are legal (counters, the year 1970), so a small value beside large ones is
    # evidence of mixed units only where both kinds look like dates of this century.
    dates = ~large & (values > 9 * 10**8)
    if large.any() and dates.any():
        first, second = int(np.flatnonzero(dates)[0]), int(np.flatnonzero(large)[0])
        raise DataError(
            f"{table.path}: {column} must have one unit, got what looks like seconds in line "
            f"{first + 2} ({values[first]:.15g}) and like milliseconds in line {second + 2} "
            f"({values[second]:.15g}); convert the column"
        )
    if unit == "s" and large.any():
        row = int(np.flatnonzero(large)[0])
        raise DataError(
            f"{table.line(row)}: {column} must be in seconds, got {values[row]:.15g}, which looks "
            f"like milliseconds; set timestamp_unit: ms"
        )
    if unit == "ms" and dates.any():
        row = int(np.flatnonzero(dates)[0])
        raise DataError(
            f"{table.line(row)}: {column} must be in milliseconds, got {values[row]:.15g}, which "
            f"looks like seconds; set timestamp_unit: s"
        )
