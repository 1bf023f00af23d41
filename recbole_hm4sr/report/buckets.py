"""Ranges of times and counts that the report splits interactions and items into.

Groups of users are in :mod:`recbole_hm4sr.evaluate.groups`, for the tables too.
"""

import numpy as np

from recbole_hm4sr.evaluate.groups import DAY, Array, Buckets

COUNTS = Buckets(
    "Interactions of the item in training",
    (0, 1, 6, 11, 21, 51, 101, 201, 501),
    (
        "none",
        "1 to 5",
        "6 to 10",
        "11 to 20",
        "21 to 50",
        "51 to 100",
        "101 to 200",
        "201 to 500",
        "over 500",
    ),
)
HOURS = tuple(str(hour) for hour in range(24))
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def hour_of_day(seconds: Array) -> Array:
    """Hour in UTC, 0 to 23, of times in seconds since the Unix epoch."""
    return seconds // 3600 % 24


def day_of_week(seconds: Array) -> Array:
    """Day of the week in UTC, Monday 0, of times in seconds since the Unix epoch.

    >>> day_of_week(np.array([0])).tolist()  # 1 January 1970, a Thursday
    [3]
    """
    return (seconds // DAY + 3) % 7


def month_of_year(seconds: Array) -> Array:
    """Month in UTC, January 0, of times in seconds since the Unix epoch."""
    return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12
