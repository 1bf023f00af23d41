"""The groups that the report splits users, histories and times into."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DAY = 86400


@dataclass(frozen=True)
class Buckets:
    """A number's place among named ranges.

    Attributes:
        title: What is measured, with its unit.
        edges: Lowest value of each bucket, ascending.
        labels: A name for each.
    """

    title: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def number(self, values: Array) -> Array:
        """Bucket of each value, from 0; smaller values than the first edge are in the first.

        >>> HISTORY.number(np.array([1, 6, 400])).tolist()
        [0, 2, 5]
        """
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, None)


# Times are whole milliseconds at the finest: whatever is no tie is in a later bucket.
GAPS = Buckets(
    "Time since the interaction before",
    (0, 0.001, 60, 600, 3600, 6 * 3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY),
    (
        "same time",
        "under 1 min",
        "1 to 10 min",
        "10 to 60 min",
        "1 to 6 h",
        "6 to 24 h",
        "1 to 7 days",
        "7 to 30 days",
        "30 to 90 days",
        "90 to 365 days",
        "over a year",
    ),
)
HISTORY = Buckets(
    "Length of the history, items",
    (1, 3, 6, 11, 21, 51),
    ("1 to 2", "3 to 5", "6 to 10", "11 to 20", "21 to 50", "51 or more"),
)
POPULARITY = Buckets(
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
