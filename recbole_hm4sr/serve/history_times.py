"""Times of histories, however they are written, in the unit of a run."""

import datetime
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.data.times import ISO_EXAMPLE, PER_SECOND, TIME_LIMITS

Array = np.ndarray[Any, Any]
_MICROSECONDS = 1_000_000


def time_rule(source: InteractionColumns) -> str:
    """What a time must be that is written somehow."""
    if source.time_format is None:
        return "a number or a date"
    return f"a date of the form {source.time_format}"


def in_unit(column: "pd.Series[Any]", unit: str, source: InteractionColumns) -> tuple[Array, Array]:
    """A column of times as numbers of a unit.

    Numbers are in the unit of the source. Where that is another, they are rounded down; else they
    stay, fractions too, which :func:`~recbole_hm4sr.data.times.read_times` judges. Moments and
    texts of dates are rounded down. A date without a zone is of UTC.

    Args:
        column: Numbers, moments of pandas or Python, or texts; empty ones are no times.
        unit: ``s`` or ``ms``.
        source: How times are written.

    Returns:
        Shape ``[N]``, float64, NaN where there is none; and which of these are written, but
        neither as a number nor as a date, or not as :func:`time_rule` says, bool.
    """
    none_bad = np.zeros(len(column), dtype=bool)
    if column.dtype.kind in "iuf":
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return _scaled(numbers, source.unit, unit), none_bad
    if column.dtype.kind == "M":
        return _of_moments(column, unit), none_bad
    values = column.to_numpy(dtype=object)
    blank = pd.isna(values) | (values == "")
    if pd.api.types.infer_dtype(values[~blank]) in ("datetime", "datetime64", "date"):
        moments = pd.to_datetime(pd.Series(values).where(~blank, None), utc=True, errors="coerce")
        return _of_moments(moments, unit), none_bad
    numbers = np.full(len(values), np.nan)
    if source.unit != "date":
        numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64)
    found = _scaled(numbers, source.unit, unit).copy()  # pandas may give it read-only
    rest = np.flatnonzero(np.isnan(found) & ~blank)
    if len(rest):
        found[rest] = _of_texts(values[rest], unit, source.time_format)
    return found, np.isnan(found) & ~blank


def read_moment(value: "int | str | datetime.datetime | None", unit: str) -> int | None:
    """One moment in a unit, rounded down.

    Args:
        value: A number of the unit, a text of one or of ISO 8601, or a moment; without a zone it is
            of UTC. None stays.
        unit: ``s`` or ``ms``.

    Raises:
        ConfigError: If it is none of them, or is no date from 1970 on.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    found = np.nan
    if isinstance(value, str):
        found = _of_texts(np.array([value], dtype=object), unit, None)[0]
    elif isinstance(value, datetime.datetime):
        found = _of_moments(pd.Series(pd.to_datetime([value], utc=True)), unit)[0]
    if not 0 <= found < TIME_LIMITS[unit]:
        raise ConfigError(
            f"a moment must be a number or a date of ISO 8601 from 1970 on, as {ISO_EXAMPLE}, "
            f"got {value!r}"
        )
    return int(found)


def _scaled(values: Array, of_file: str, unit: str) -> Array:
    """Numbers of another unit, rounded down; ``us`` is what Parquet files of moments give."""
    steps = {**PER_SECOND, "us": _MICROSECONDS, "date": PER_SECOND[unit]}
    there, here = steps[of_file], steps[unit]
    if there == here:
        return values
    if there > here:
        return np.floor(values / (there // here))
    # 1.001 s are 1000.9999... ms to floats.
    return np.floor(np.round(values * (here // there), 3))


def _of_moments(moments: "pd.Series[Any]", unit: str) -> Array:
    if getattr(moments.dtype, "tz", None) is not None:
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    exact = moments.to_numpy(dtype="datetime64[us]")
    numbers = np.where(np.isnat(exact), np.nan, exact.astype(np.int64).astype(np.float64))
    return _scaled(numbers, "us", unit)


def _of_texts(texts: Array, unit: str, time_format: str | None) -> Array:
    """Dates; NaN where a text is none."""
    given = pd.Series([str(text).strip() for text in texts], dtype=object)
    form = time_format or "ISO8601"
    return _of_moments(pd.to_datetime(given, format=form, utc=True, errors="coerce"), unit)
