"""Any table of interactions, CSV or Parquet, to a folder of atomic files.

Memory is bounded; lines that cannot be read and rows that cannot be used are counted by reason,
with their first places.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.prepare.progress import Report, engine_progress, silent
from recbole_hm4sr.prepare.raw.csv_rows import UTF8, check_encoding
from recbole_hm4sr.prepare.tables.drops import DropCounts
from recbole_hm4sr.prepare.tables.item_fields import ItemRow, clean_token, make_item_row
from recbole_hm4sr.prepare.tables.job import Loaded, Preparation, Source
from recbole_hm4sr.prepare.tables.source import (
    KEYS,
    load_source,
    place_of,
    refuse_mostly_dropped,
    table_form,
)
from recbole_hm4sr.prepare.tables.tables import WorkTables, quote, require_engine
from recbole_hm4sr.prepare.tables.times import (
    check_times,
    in_range,
    settle_order,
    time_columns,
    time_rules,
    written_time,
)

_BATCH = 1 << 14
_NAMED_EVENTS = 20
_EVENT_LETTERS = 40
_CONTROL = "'[\\x00-\\x1f]'"


@dataclass(frozen=True)
class ItemColumns:
    """Names of the columns of the items; None is what the table does not have.

    Attributes:
        categories: A column of paths, texts or lists.
        separator: What stands between two categories of a text.
        level_separator: What stands between the levels of a category; None if each is one name.
        encoding: Encoding of the text, as Python names it.
    """

    item: str = "item_id"
    title: str | None = None
    brand: str | None = None
    categories: str | None = None
    description: str | None = None
    price: str | None = None
    image_url: str | None = None
    separator: str = "|"
    level_separator: str | None = None
    encoding: str = UTF8

    def named(self) -> dict[str, str]:
        """Our names of the columns that there are to theirs."""
        rest = ("separator", "level_separator", "encoding")
        return {
            name: column for name, column in asdict(self).items() if column and name not in rest
        }


def prepare_tables(
    interactions: Path,
    columns: InteractionColumns,
    job: Preparation,
    *,
    items: Path | None = None,
    item_columns: ItemColumns | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """Write the atomic folder of a table of interactions, and one of items.

    Returns and raises what :func:`recbole_hm4sr.prepare.raw.amazon.prepare_amazon` does.

    Args:
        interactions: CSV (plain or gzip) or Parquet; told apart by content.
        columns: Its columns.
        job: Where to write, and how.
        items: Table of items; None leaves the data set without an ``.item`` file.
        item_columns: Its columns.
        report: Told what goes on.
    """
    require_engine()
    check_times(columns.unit, columns.time_format)
    if (columns.event is None) != (not columns.keep_events):
        raise ConfigError(
            f"--event and --keep_events must come together, got {columns.event!r} and "
            f"{', '.join(columns.keep_events) or 'none'}"
        )
    wanted = item_columns or ItemColumns(columns.item, encoding=columns.encoding)
    for flag, encoding in (("encoding", columns.encoding), ("items_encoding", wanted.encoding)):
        check_encoding(flag, encoding)
    if items and len(wanted.named()) == 1:
        raise ConfigError(
            "--items must come with a flag for at least one of its columns, such as --title=name, "
            "got none"
        )
    job.check([interactions], [items] if items else [])
    given = [("interactions", interactions, columns.encoding)]
    if items:
        given.append(("items", items, wanted.encoding))
    sources = [Source(role, path, table_form(path, code), code) for role, path, code in given]
    return job.run(
        "csv",
        sources,
        load_reviews=lambda tables: _load_interactions(tables, sources[0], columns, report),
        load_items=(lambda tables: _load_items(tables, sources[1], wanted, report))
        if items
        else None,
        report=report,
        details={
            "columns": asdict(columns),
            "item_columns": asdict(wanted) if len(wanted.named()) > 1 else None,
        },
    )


def _load_interactions(
    tables: WorkTables, source: Source, columns: InteractionColumns, report: Report
) -> Loaded:
    loaded = Loaded()
    wanted = {"user": columns.user, "item": columns.item, "time": columns.time}
    if columns.event is not None:
        wanted["event"] = columns.event
    types = load_source(tables, source, wanted, loaded, report)
    if types["time"].startswith(("DATE", "TIME")):
        columns = replace(columns, unit="date", time_format=None)
    with engine_progress(tables.connection, f"reading {source.path.name}", report):
        tables.run(f"CREATE TEMP TABLE judged AS {_judge(columns)}")
        tables.run("DROP TABLE source")
        loaded.unit = settle_order(tables, columns.unit)
        tables.run(
            f'INSERT INTO raw SELECT "user", item, {written_time(loaded.unit)}, row FROM judged '
            f"WHERE fault IS NULL ORDER BY row"
        )
    counted = tables.run(
        "SELECT fault, count(*), min(row, 3) FROM judged WHERE fault IS NOT NULL GROUP BY fault"
    )
    for reason, count, rows in _few_reasons(counted):
        loaded.dropped.add_places(reason, count, [place_of(source, row) for row in rows])
    if columns.event is not None:
        loaded.events = _count_events(tables, source, columns)
    tables.run("DROP TABLE judged")
    return loaded


def _count_events(
    tables: WorkTables, source: Source, columns: InteractionColumns
) -> dict[str, int]:
    """Rows of each event that is kept, of those that can be used.

    Raises:
        DataError: If one of them is in no row.
    """
    found = dict(tables.run("SELECT event, count(*) FROM judged GROUP BY event ORDER BY 2 DESC"))
    strange = [name for name in columns.keep_events if name not in found]
    if strange:
        there = ", ".join(str(name) for name in list(found)[:_NAMED_EVENTS])
        raise DataError(
            f"{source.path}: --keep_events must name values of the column {columns.event!r}, got "
            f"{strange[0]!r}, which it does not have; it has {there or 'none'}"
        )
    used = dict(tables.run("SELECT event, count(*) FROM judged WHERE fault IS NULL GROUP BY event"))
    return {name: used.get(name, 0) for name in columns.keep_events}


def _few_reasons(counted: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The reasons by name; of many events, as of a column that is none, the rarest as one."""
    counted = sorted(counted, key=lambda it: -it[1])
    more = [it for it in counted if it[0].startswith("event is ")][_NAMED_EVENTS:]
    if more:
        counted = [it for it in counted if it not in more]
        counted.append(("event is another", sum(it[1] for it in more), more[0][2]))
    return sorted(counted)


def _judge(columns: InteractionColumns) -> str:
    """The query of all rows as texts and nanoseconds, with the reason why one cannot be used."""
    number, ns = time_columns(columns.unit, columns.time_format)
    rules = {
        "no user": """coalesce("user", '') = ''""",
        "no item": "coalesce(item, '') = ''",
        "user's name is no plain text": f'regexp_matches("user", {_CONTROL})',
        "item's name is no plain text": f"regexp_matches(item, {_CONTROL})",
        **time_rules(columns.unit, columns.time_format),
    }
    cases = " ".join(f"WHEN {rule} THEN {quote(reason)}" for reason, rule in rules.items())
    names = [*KEYS]
    if columns.event is not None:
        # First: what is no interaction need not have an item.
        kept = ", ".join(map(quote, columns.keep_events))
        cases = (
            f"WHEN coalesce(event, '') = '' THEN 'no event' WHEN event NOT IN ({kept}) THEN "
            f"'event is ' || left(event, {_EVENT_LETTERS}) {cases}"
        )
        names.append("event")
    texts = ", ".join(
        f'trim(CAST("{name}" AS VARCHAR), {quote(ASCII_BLANKS)}) AS "{name}"' for name in names
    )
    return (
        f"SELECT * EXCLUDE (text, number), CASE WHEN {in_range(columns.unit)} THEN "
        f"CAST({ns} AS HUGEINT) END AS ns, CASE {cases} END AS fault FROM (SELECT *, {number} AS "
        f"number FROM (SELECT row, {texts}, trim(CAST(time AS VARCHAR)) AS text FROM source))"
    )


def _load_items(tables: WorkTables, source: Source, columns: ItemColumns, report: Report) -> Loaded:
    loaded = Loaded()
    names = list(load_source(tables, source, columns.named(), loaded, report))
    last = tables.run("SELECT coalesce(max(row), 0) FROM source")[0][0]
    cells = ", ".join(f'"{name}"' for name in names)
    for start in range(0, last, _BATCH):
        rows = []
        for number, *values in tables.run(
            f"SELECT row, {cells} FROM source WHERE row > ? AND row <= ? ORDER BY row",
            start,
            start + _BATCH,
        ):
            place = place_of(source, number)
            row = _item_row(dict(zip(names, values, strict=True)), columns, loaded.emptied, place)
            if isinstance(row, str):
                loaded.dropped.add(row, place)
            else:
                rows.append(row)
        tables.append_items(rows)
        report(f"cleaning {source.path.name}", start, last)
    tables.run("DROP TABLE source")
    refuse_mostly_dropped(source, loaded.dropped, loaded.inputs[-1]["n_rows"])
    return loaded


def _item_row(
    values: dict[str, Any], columns: ItemColumns, emptied: DropCounts, place: str
) -> ItemRow | str:
    raw = values["item"]
    if raw is None or raw == "":
        return "no item"
    token = clean_token(raw)
    if token is None:
        return "item's name is no plain text"
    categories = values.get("categories") or []
    names = categories.split(columns.separator) if isinstance(categories, str) else categories
    paths = [names]
    if columns.level_separator:
        paths = [str(name).split(columns.level_separator) for name in names]
    price = values.get("price")
    return make_item_row(
        token,
        title=values.get("title"),
        brand=values.get("brand"),
        paths=paths,
        description=values.get("description"),
        with_department=False,
        price=price if price is None or isinstance(price, str) else float(price),
        image_url=values.get("image_url"),
        fault=partial(emptied.add, place=place),
    )
