"""Times of interactions: whole numbers of one unit, which must be the unit declared.

They stay in that unit, with all digits, up to the model. What needs seconds gets them here.
"""

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import DataError

if TYPE_CHECKING:
    from recbole_hm4sr.data.atomic import AtomicTable

PER_SECOND = {"s": 1, "ms": 1000}
DAY_SECONDS = 86400
ISO_EXAMPLE = "2026-11-30T18:00"
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds"}
# Seconds above this are after the year 5138; milliseconds below it are before March 1973.
_SECONDS_LIMIT = 10**11
_MILLISECONDS_LIMIT = 10**14
# The first time of each unit that looks like one of the next.
TIME_LIMITS = {"s": _SECONDS_LIMIT, "ms": _MILLISECONDS_LIMIT}
# Times below that are more likely counters than dates of this century.
_DATES_BEGIN = 9 * 10**8


def whole_seconds(times: Any, unit: str) -> Any:
    """Times in seconds, rounded down; those in seconds are returned as they are.

    Args:
        times: In ``unit``: an int, or an array or a tensor of int64 of any shape.
        unit: ``s`` or ``ms``.
    """
    return times if unit == "s" else times // PER_SECOND[unit]


def as_date(time: int, unit: str) -> str:
    """A time in ISO 8601, to the second, in UTC.

    Args:
        time: In ``unit``.
        unit: ``s`` or ``ms``.
    """
    seconds = whole_seconds(time, unit)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):  # counters may lie beyond all dates
        return f"{seconds} seconds since 1970"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def grain_of(times: "np.ndarray[Any, Any]", unit: str) -> int:
    """The smallest step of times: a day where all are whole days, else one of their unit.

    Args:
        times: In ``unit``. Shape ``[N]``, int64.
        unit: ``s`` or ``ms``.
    """
    day = DAY_SECONDS * PER_SECOND[unit]
    return 1 if (times % day).any() else day


def exact_seconds(times: Any, unit: str) -> Any:
    """Times or lengths of time in seconds, with their fraction: float64 where there can be one.

    Args:
        times: In ``unit``: an int, or an array of int64 of any shape.
        unit: ``s`` or ``ms``.
    """
    return times if unit == "s" else times / PER_SECOND[unit]


def read_times(
    table: "AtomicTable", column: str, unit: str, *, is_fixed: bool = False
) -> "np.ndarray[Any, Any]":
    """A time column as whole numbers of its unit, checked.

    Args:
        table: The file's columns.
        column: Name of the time column.
        unit: ``s`` or ``ms`` since the Unix epoch.
        is_fixed: Whether the unit is that of a finished run, so that only the column can change.

    Returns:
        Times in ``unit``. Shape ``[N]``, int64.

    Raises:
        DataError: If the column is no float column, a time is missing, infinite, negative or not
            whole, the values look like another unit than the one declared, or like two units mixed.
    """
    table.require_kind(column, "float")
    values = table.frame[column].to_numpy(dtype=np.float64)
    for broken in broken_times(values, unit, is_fixed=is_fixed):
        if broken.flags.any():
            from recbole_hm4sr.data.atomic import count_of  # it imports pandas

            row = int(np.flatnonzero(broken.flags)[0])
            raise DataError(
                f"{table.line(row)}: {column} must be {broken.rule(values[row])}, got "
                f"{values[row]:.15g} ({count_of(int(broken.flags.sum()), 'such line')})"
            )
    _check_unit(table, column, unit, values, is_fixed=is_fixed)
    return values.astype(np.int64)


class BrokenTimes(NamedTuple):
    """Times that break a rule.

    Attributes:
        flags: Which do. Shape ``[N]``, bool.
        reason: Why one cannot be used, as ``hm4sr prepare`` counts it.
        rule: What such a time must be.
    """

    flags: "np.ndarray[Any, Any]"
    reason: str
    rule: Callable[[float], str]


def broken_times(
    values: "np.ndarray[Any, Any]", unit: str, *, is_fixed: bool
) -> tuple[BrokenTimes, ...]:
    """The rules that each time by itself must keep, in order, with the times that break them.

    Args:
        values: Shape ``[N]``, float64.
        unit: ``s`` or ``ms`` since the Unix epoch.
        is_fixed: As :func:`read_times` takes it.
    """
    sense = f"0 or more ({UNIT_WORDS[unit]} since 1970, UTC)"
    is_whole = values == np.floor(values)
    return (
        BrokenTimes(np.isnan(values), "no time", lambda _: "a finite number"),
        BrokenTimes(np.isinf(values), "time is no finite number", lambda _: "a finite number"),
        BrokenTimes(values < 0, f"time is not in {unit}", lambda _: sense),
        BrokenTimes(
            ~is_whole,
            "time is no whole number",
            lambda value: _rule_of_fractions(value, unit, is_fixed=is_fixed),
        ),
    )


def are_of_another_unit(values: "np.ndarray[Any, Any]", unit: str) -> "np.ndarray[Any, Any]":
    """Which times look like dates of another unit than theirs. Shape ``[N]``, bool.

    Args:
        values: Shape ``[N]``, float64.
        unit: ``s`` or ``ms``.
    """
    if unit == "s":
        return np.asarray(values >= _SECONDS_LIMIT)
    are_seconds = (values > _DATES_BEGIN) & (values < _SECONDS_LIMIT)
    return np.asarray(are_seconds | (values >= _MILLISECONDS_LIMIT))


def _rule_of_fractions(value: float, unit: str, *, is_fixed: bool) -> str:
    if unit == "s" and not is_fixed:
        return "a whole number; write milliseconds and set timestamp_unit: ms"
    advice = "round it down"
    if unit == "ms" and _DATES_BEGIN < value < _SECONDS_LIMIT:
        advice = "it looks like seconds, so multiply it by 1000"
    return f"a whole number of {UNIT_WORDS[unit]}; {advice}"


def _check_unit(
    table: "AtomicTable",
    column: str,
    unit: str,
    values: "np.ndarray[Any, Any]",
    *,
    is_fixed: bool,
) -> None:
    large = values >= _SECONDS_LIMIT
    if (values >= _MILLISECONDS_LIMIT).any():
        row = int(np.argmax(values))
        raise DataError(
            f"{table.line(row)}: {column} must be in seconds or milliseconds, got "
            f"{values[row]:.15g}, which looks like microseconds or nanoseconds; divide the column"
        )
    # Times near zero are legal (counters, the year 1970), so a small value beside large ones is
    # evidence of mixed units only where both kinds look like dates of this century.
    dates = ~large & (values > _DATES_BEGIN)
    if large.any() and dates.any():
        first, second = int(np.flatnonzero(dates)[0]), int(np.flatnonzero(large)[0])
        raise DataError(
            f"{table.path}: {column} must have one unit, got what looks like seconds in "
            f"{table.place(first)} ({values[first]:.15g}) and like milliseconds in "
            f"{table.place(second)} ({values[second]:.15g}); convert the column"
        )
    for declared, other, wrong, remedy in (
        ("s", "ms", large, f"divide {column} by 1000 and round down"),
        ("ms", "s", dates, f"multiply {column} by 1000"),
    ):
        if unit == declared and wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            if is_fixed:
                remedy = f"the run counts in {UNIT_WORDS[unit]}, so {remedy}"
            else:
                remedy = f"set timestamp_unit: {other}"
            raise DataError(
                f"{table.line(row)}: {column} must be in {UNIT_WORDS[unit]}, got "
                f"{values[row]:.15g}, which looks like {UNIT_WORDS[other]}; {remedy}"
            )
