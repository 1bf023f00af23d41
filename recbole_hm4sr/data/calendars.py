"""Calendar fields of moments, in UTC."""

from typing import Any

import numpy as np

from recbole_hm4sr.data.times import DAY_SECONDS

Array = np.ndarray[Any, Any]
FIELDS = ("year", "month", "day", "weekday", "day of year", "ISO week", "hour")


def calendar_fields(seconds: Array, first_year: int) -> Array:
    """The calendar fields of some moments.

    Args:
        seconds: Since the epoch. Shape ``[N]``, int64.
        first_year: The year that counts as 1.

    Returns:
        In the order of :data:`FIELDS`, Monday 1. Shape ``[N, 7]``, int64.
    """
    days = seconds // DAY_SECONDS
    dates = days.astype("datetime64[D]")
    months, years = dates.astype("datetime64[M]"), dates.astype("datetime64[Y]")
    weekday = (days + 3) % 7  # 1970 began on a Thursday
    thursdays = (days - weekday + 3).astype("datetime64[D]")  # a week is of its Thursday's year
    fields = (
        year_of(seconds) - first_year + 1,
        months.astype(np.int64) % 12 + 1,
        (dates - months).astype(np.int64) + 1,
        weekday + 1,
        _day_of_year(dates, years) + 1,
        _day_of_year(thursdays, thursdays.astype("datetime64[Y]")) // 7 + 1,
        seconds % DAY_SECONDS // 3600,
    )
    return np.stack(fields, axis=-1)


def year_of(seconds: Any) -> Any:
    """The year of moments in seconds since the epoch; an int or an array of int64."""
    years = np.asarray(seconds // DAY_SECONDS).astype("datetime64[D]").astype("datetime64[Y]")
    return years.astype(np.int64) + 1970


def _day_of_year(dates: Array, years: Array) -> Array:
    return (dates - years.astype("datetime64[D]")).astype(np.int64)
