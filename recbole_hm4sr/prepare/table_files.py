"""Any table of interactions, CSV or Parquet, to a folder of atomic files.

DuckDB reads both in bounded memory; rows it cannot read are kept apart with their line, and rows
that can be read but not used are counted by reason.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recbole_hm4sr.errors import ConfigError, DataError
from recbole_hm4sr.prepare.amazon_forms import UNIT_RANGES
from recbole_hm4sr.prepare.csv_form import csv_reader, table_form
from recbole_hm4sr.prepare.drops import Drops
from recbole_hm4sr.prepare.item_fields import ItemRow, clean_token, make_item_row
from recbole_hm4sr.prepare.job import Job, Loaded, Source
from recbole_hm4sr.prepare.progress import Report, engine_progress, silent
from recbole_hm4sr.prepare.raw_lines import FileFacts, hash_file
from recbole_hm4sr.prepare.tables import WorkTables, first_line, quote, require_engine

_BATCH = 1 << 14
_UNITS = ("s", "ms", "date")
_CONTROL = "'[\\x00-\\x1f]'"
_REJECTED = {
    "MISSING COLUMNS": "line has too few columns",
    "TOO MANY COLUMNS": "line has too many columns",
    "INVALID ENCODING": "line is not UTF-8",
    "UNQUOTED VALUE": "line has a broken quotation",
    "LINE SIZE OVER MAXIMUM": "line is too long",
}


@dataclass(frozen=True)
class InteractionColumns:
    """Names of the columns of the interactions, and the unit of their times."""

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    unit: str = "s"


@dataclass(frozen=True)
class ItemColumns:
    """Names of the columns of the items; None is what the table does not have.

    Attributes:
        categories: A column of paths, texts or lists.
        separator: What stands between two categories of a text.
    """

    item: str = "item_id"
    title: str | None = None
    brand: str | None = None
    categories: str | None = None
    description: str | None = None
    price: str | None = None
    image_url: str | None = None
    separator: str = "|"

    def named(self) -> dict[str, str]:
        """Our names of the columns that there are to theirs."""
        names = asdict(self)
        names.pop("separator")
        return {name: column for name, column in names.items() if column}


def prepare_tables(
    interactions: Path,
    columns: InteractionColumns,
    job: Job,
    *,
    items: Path | None = None,
    item_columns: ItemColumns | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """Write the atomic folder of a table of interactions, and one of items.

    Returns and raises what :func:`recbole_hm4sr.prepare.amazon.prepare_amazon` does.

    Args:
        interactions: CSV (plain or gzip) or Parquet; told apart by content.
        columns: Its columns.
        job: Where to write, and how.
        items: Table of items; None leaves the data set without an ``.item`` file.
        item_columns: Its columns.
        report: Told what goes on.
    """
    require_engine()
    if columns.unit not in _UNITS:
        raise ConfigError(f"--unit must be one of {', '.join(_UNITS)}, got {columns.unit!r}")
    wanted = item_columns or ItemColumns(columns.item)
    if items and len(wanted.named()) == 1:
        raise ConfigError(
            "--items must come with a flag for at least one of its columns, such as --title=name, "
            "got none"
        )
    job.check([interactions], [items] if items else [])
    sources = [Source("interactions", interactions, table_form(interactions))]
    if items:
        sources.append(Source("items", items, table_form(items)))
    return job.run(
        "csv",
        sources,
        unit="ms" if columns.unit == "ms" else "s",
        load_reviews=lambda tables: _load_interactions(tables, sources[0], columns, report),
        load_items=(lambda tables: _load_items(tables, sources[1], wanted, report))
        if items
        else None,
        report=report,
        details={"columns": asdict(columns), "item_columns": asdict(wanted) if items else None},
    )


def _open(tables: WorkTables, source: Source, wanted: Mapping[str, str]) -> dict[str, str]:
    """Make the view ``source`` of a file's wanted columns, with ``row`` from 1.

    Returns:
        Our names of the columns to their types.
    """
    reader = (
        f"read_parquet({quote(str(source.path))})"
        if source.form == "Parquet"
        else csv_reader(source.path)
    )
    described = _ask(tables, source, f"DESCRIBE SELECT * FROM {reader}")
    types = {row[0]: row[1] for row in described}
    for name, column in wanted.items():
        if column not in types:
            near = difflib.get_close_matches(column, types, n=1)
            flag = "items_item" if source.role == "items" and name == "item" else name
            raise DataError(
                f"{source.path} must have the column {column!r} (--{flag}), got "
                f"{', '.join(types)}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    cells = ", ".join(f'{_name(column)} AS "{name}"' for name, column in wanted.items())
    tables.run(
        f"CREATE OR REPLACE TEMP VIEW source AS SELECT row_number() OVER () AS row, {cells} "
        f"FROM {reader}"
    )
    return {name: types[column] for name, column in wanted.items()}


def _load_interactions(
    tables: WorkTables, source: Source, columns: InteractionColumns, report: Report
) -> Loaded:
    types = _open(
        tables, source, {"user": columns.user, "item": columns.item, "time": columns.time}
    )
    if columns.unit != "date" and types["time"].startswith(("DATE", "TIME")):
        raise DataError(f"{source.path}: the column {columns.time!r} is of dates; give --unit=date")
    with engine_progress(tables.connection, f"reading {source.path.name}", report):
        _ask(tables, source, f"CREATE TEMP TABLE judged AS {_judge(columns)}")
        tables.run(
            'INSERT INTO raw SELECT "user", item, CAST(number AS BIGINT), row FROM judged '
            "WHERE fault IS NULL ORDER BY row"
        )
    loaded = Loaded()
    counted = tables.run(
        "SELECT fault, count(*), min(row, 3) FROM judged WHERE fault IS NOT NULL GROUP BY fault"
    )
    for reason, count, rows in sorted(counted):
        places = [f"{source.path.name}, row {row}" for row in rows]
        loaded.dropped.add_places(reason, count, places)
    n_rows = tables.run("SELECT count(*) FROM judged")[0][0]
    tables.run("DROP TABLE judged")
    return _finish(tables, source, loaded, n_rows)


def _judge(columns: InteractionColumns) -> str:
    """The query of all rows as texts and a number, with the reason why one cannot be used."""
    number, no_number = "TRY_CAST(text AS DOUBLE)", "time is no number (dates need --unit=date)"
    if columns.unit == "date":
        number = "floor(epoch_ms(TRY_CAST(text AS TIMESTAMPTZ)) / 1000)"
        no_number = "time is no date"
    unit = "ms" if columns.unit == "ms" else "s"
    low, high = UNIT_RANGES[unit]
    rules = {
        "no user": """coalesce("user", '') = ''""",
        "no item": "coalesce(item, '') = ''",
        "user's name is no plain text": f'regexp_matches("user", {_CONTROL})',
        "item's name is no plain text": f"regexp_matches(item, {_CONTROL})",
        "no time": "coalesce(text, '') = ''",
        no_number: "number IS NULL",
        "time is no whole number": "NOT isfinite(number) OR number <> floor(number)",
        f"time is not in {unit}": f"number < {low} OR number >= {high}",
    }
    cases = " ".join(f"WHEN {rule} THEN {quote(reason)}" for reason, rule in rules.items())
    texts = ", ".join(f'trim(CAST("{name}" AS VARCHAR)) AS "{name}"' for name in ("user", "item"))
    return (
        f"SELECT *, CASE {cases} END AS fault FROM (SELECT *, {number} AS number FROM "
        f"(SELECT row, {texts}, trim(CAST(time AS VARCHAR)) AS text FROM source))"
    )


def _load_items(tables: WorkTables, source: Source, columns: ItemColumns, report: Report) -> Loaded:
    names = list(_open(tables, source, columns.named()))
    loaded, n_rows = Loaded(), 0
    cells = ", ".join(f'"{name}"' for name in names)
    with engine_progress(tables.connection, f"reading {source.path.name}", report):
        _ask(tables, source, f"CREATE TEMP TABLE source_items AS SELECT row, {cells} FROM source")
    n_items = tables.run("SELECT count(*) FROM source_items")[0][0]
    while True:
        batch = tables.run(
            "SELECT * FROM source_items WHERE row > ? AND row <= ? ORDER BY row",
            n_rows,
            n_rows + _BATCH,
        )
        if not batch:
            break
        n_rows += len(batch)
        rows = []
        for number, *values in batch:
            place = f"{source.path.name}, row {number}"
            row = _item_row(dict(zip(names, values, strict=True)), columns, loaded.emptied, place)
            if isinstance(row, str):
                loaded.dropped.add(row, place)
            else:
                rows.append(row)
        tables.append_items(rows)
        report(f"cleaning {source.path.name}", n_rows, n_items)
    tables.run("DROP TABLE source_items")
    return _finish(tables, source, loaded, n_rows)


def _item_row(
    values: dict[str, Any], columns: ItemColumns, emptied: Drops, place: str
) -> ItemRow | str:
    raw = values["item"]
    if raw is None or raw == "":
        return "no item"
    token = clean_token(raw)
    if token is None:
        return "item's name is no plain text"
    categories = values.get("categories") or []
    parts = categories.split(columns.separator) if isinstance(categories, str) else categories
    price = values.get("price")
    return make_item_row(
        token,
        title=values.get("title"),
        brand=values.get("brand"),
        paths=[parts],
        description=values.get("description"),
        with_department=False,
        price=price if price is None or isinstance(price, str) else float(price),
        image_url=values.get("image_url"),
        fault=partial(emptied.add, place=place),
    )


def _finish(tables: WorkTables, source: Source, loaded: Loaded, n_rows: int) -> Loaded:
    """Count what the reader of CSV files refused, and note the file."""
    if source.form == "CSV":
        # A line can be refused for two reasons; the first counts.
        refused = tables.run(
            "SELECT kind, count(*), min(line, 3) FROM (SELECT line, "
            "arg_min(CAST(error_type AS VARCHAR), column_idx) AS kind FROM reject_errors "
            "GROUP BY line) GROUP BY kind"
        )
        for kind, count, lines in sorted(refused):
            reason = _REJECTED.get(kind, f"line cannot be read ({kind.lower()})")
            places = [f"{source.path.name}, line {line}" for line in lines]
            loaded.dropped.add_places(reason, count, places)
            n_rows += count
        tables.run("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    facts = FileFacts(source.path.stat().st_size, n_rows, hash_file(source.path))
    loaded.inputs.append(source.record(facts))
    return loaded


def _ask(tables: WorkTables, source: Source, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that reads a file."""
    import duckdb

    try:
        return tables.ask(sql)
    except duckdb.OutOfMemoryException as error:
        raise tables.refusal(error) from error
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException) as error:
        if "invalid state" in str(error):
            raise DataError(
                f"{source.path} must end its lines all in the same way, got \\n and \\r\\n; write "
                f"it anew, for example with dos2unix"
            ) from error
        raise DataError(
            f"{source.path} must be a whole {source.form} file, got: {first_line(error)}"
        ) from error


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
