"""Times of a table: nanoseconds while it is read, then seconds, or milliseconds if it has parts."""

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.interaction_columns import UNITS
from recbole_hm4sr.prepare.raw.amazon_forms import UNIT_RANGES
from recbole_hm4sr.prepare.tables.tables import WorkTables, first_line, quote

_PER_UNIT = {"s": 10**9, "ms": 10**6}  # nanoseconds
NO_NUMBER = "time is no number (dates need --unit=date)"
NO_DATE = (
    "time is no date such as 2024-03-01, 2024-03-01 10:00:00.25 or 2024-03-01T10:00:00+02:00 "
    "(others need --time_format)"
)


def check_times(unit: str, time_format: str | None) -> None:
    """Refuse what the flags of times cannot be.

    Raises:
        ConfigError: If a flag has a value that it cannot have.
    """
    import duckdb

    if unit not in UNITS:
        raise ConfigError(f"--unit must be one of {', '.join(UNITS)}, got {unit!r}")
    if time_format is None:
        return
    if unit != "date":
        raise ConfigError(f"--time_format must come with --unit=date, got --unit={unit}")
    try:
        duckdb.connect().execute(f"SELECT try_strptime('', {quote(time_format)})")
    except duckdb.Error as error:
        raise ConfigError(
            f"--time_format must be a format such as '%d.%m.%Y %H:%M', got {time_format!r}: "
            f"{first_line(error)}"
        ) from error


def time_columns(unit: str, time_format: str | None) -> tuple[str, str]:
    """Expressions over the column ``text``.

    Returns:
        The time in ``unit`` (of dates, in seconds) as a floating-point ``number``; and, over it,
        in range, the nanoseconds since 1970.
    """
    if unit != "date":
        # Decimals keep the digits that floating-point numbers lose.
        exact = "coalesce(TRY_CAST(text AS DECIMAL(30, 12)), CAST(number AS DECIMAL(30, 12)))"
        return "TRY_CAST(text AS DOUBLE)", f"floor({exact} * {_PER_UNIT[unit]})"
    moment = "TRY_CAST(text AS TIMESTAMPTZ)"
    if time_format is not None:
        moment = f"CAST(try_strptime(text, {quote(time_format)}) AS TIMESTAMPTZ)"
    # The engine's moments end at microseconds.
    digits = r"regexp_extract(text, ':\d\d[.,]\d{6}(\d{1,3})', 1)"
    finer = f"coalesce(TRY_CAST(rpad({digits}, 3, '0') AS BIGINT), 0)"
    return (
        f"epoch_us({moment}) / 1000000.0",
        f"CAST(epoch_us({moment}) AS HUGEINT) * 1000 + {finer}",
    )


def time_rules(unit: str, time_format: str | None) -> dict[str, str]:
    """Reasons why a time cannot be used, each with its condition, in order."""
    no_number = NO_NUMBER
    if unit == "date":
        no_number = NO_DATE if time_format is None else f"time is not of the form {time_format}"
    return {
        "no time": "coalesce(text, '') = ''",
        no_number: "number IS NULL OR NOT isfinite(number)",
        f"time is not in {'s' if unit == 'date' else unit}": f"NOT ({in_range(unit)})",
    }


def in_range(unit: str) -> str:
    """The condition that ``number`` is a time in a unit."""
    low, high = UNIT_RANGES["ms" if unit == "ms" else "s"]
    return f"number >= {low} AND number < {high}"


def settle_order(tables: WorkTables, unit: str) -> str:
    """Bring the rows of ``judged`` into the order in which they are written; say in which unit.

    Rows of one millisecond change places among themselves, into the order of their finer digits;
    all other rows stay where the file has them.

    Args:
        tables: Their table ``judged`` has ``row``, ``ns`` and ``fault``.
        unit: The unit of the file.

    Returns:
        ``s`` where all times are whole seconds, else ``ms``.
    """
    parts, finer = tables.run(
        f"SELECT coalesce(bool_or(ns % {_PER_UNIT['s']} <> 0), false), "
        f"coalesce(bool_or(ns % {_PER_UNIT['ms']} <> 0), false) FROM judged WHERE fault IS NULL"
    )[0]
    if finer:
        tables.run(
            f"""
            CREATE OR REPLACE TEMP TABLE places AS
            WITH timed AS (
                SELECT row, ns, ns // {_PER_UNIT["ms"]} AS ms FROM judged WHERE fault IS NULL
            ), shared AS (
                SELECT ms FROM timed GROUP BY ms HAVING count(DISTINCT ns) > 1
            ), ranked AS (
                SELECT row, ms, row_number() OVER (PARTITION BY ms ORDER BY ns, row) AS by_time,
                    row_number() OVER (PARTITION BY ms ORDER BY row) AS by_row
                FROM timed SEMI JOIN shared USING (ms)
            )
            SELECT one.row, other.row AS place FROM ranked AS one
            JOIN ranked AS other ON one.ms = other.ms AND one.by_time = other.by_row
            """
        )
        tables.run("UPDATE judged SET row = place FROM places WHERE judged.row = places.row")
        tables.run("DROP TABLE places")
    return "ms" if parts or unit == "ms" else "s"


def written_time(unit: str) -> str:
    """The expression of the time as it is written, over ``ns``."""
    return f"CAST(ns // {_PER_UNIT[unit]} AS BIGINT)"
