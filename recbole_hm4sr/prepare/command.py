"""``recbole_hm4sr.prepare``: a folder of atomic files from tables, in files or in memory."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.prepare.progress import Report, silent
from recbole_hm4sr.prepare.tables.earlier import CHANGES, Earlier
from recbole_hm4sr.prepare.tables.job import Preparation
from recbole_hm4sr.prepare.tables.remembered import columns_of, rules_of
from recbole_hm4sr.prepare.tables.table_files import prepare_tables
from recbole_hm4sr.prepare.tables.tables import first_line, quote, require_engine


@dataclass(frozen=True)
class Prepared:
    """A finished data set; ``recbole_hm4sr.run(model, dataset=prepared)`` takes it.

    Attributes:
        folder: Its folder, whose name is the data set's.
        provenance: What ``PROVENANCE.json`` says: what each step left and dropped.
        is_known: Whether all that was to be appended is in it: then nothing was done.
    """

    folder: Path
    provenance: dict[str, Any]
    is_known: bool = False

    def __fspath__(self) -> str:
        """The folder, as paths are written."""
        return str(self.folder)


def prepare(  # noqa: PLR0913  # an option each
    interactions: Any,
    items: Any = None,
    *,
    out: str | Path,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    unit: str | None = None,
    time_format: str | None = None,
    event: str | None = None,
    keep_events: Sequence[str] = (),
    items_item: str | None = None,
    title: str | None = None,
    brand: str | None = None,
    categories: str | None = None,
    description: str | None = None,
    price: str | None = None,
    image_url: str | None = None,
    separator: str | None = None,
    level_separator: str | None = None,
    encoding: str | None = None,
    items_encoding: str | None = None,
    core: int | None = None,
    keep_items: str | None = None,
    keep_later: bool | None = None,
    change: str = "",
    memory: str = "2GB",
    threads: int = 0,
    report: Report = silent,
) -> Prepared:
    """Make the atomic files of a data set, as ``hm4sr prepare csv`` does.

    Started again after a stop, the same call on files goes on behind the last finished stage. With
    ``change``, what is not given of the columns and of what is kept is as in the state before; an
    empty text takes a column back.

    Args:
        interactions: A CSV or Parquet file, or a table of pandas, Polars or Arrow.
        items: The same of items; None leaves the data set without an ``.item`` file.
        out: Folder to write, new or empty; its name is the data set's. With ``change`` that of the
            first state.
        user: Column of users; None for ``user_id``.
        item: Column of items; None for ``item_id``.
        time: Column of times; None for ``timestamp``.
        unit: What times are that are no moments: ``s`` or ``ms`` since 1970, or ``date`` for texts;
            None for ``s``.
        time_format: Form of dates, as ``%d.%m.%Y %H:%M``; None for ISO 8601.
        event: Column that says what a row is, as ``view`` or ``buy``.
        keep_events: Events that count; other rows are left out and counted.
        items_item: Column of items in ``items``, if not named as by ``item``.
        title: Column of titles in ``items``; None where there is none, as for the next five.
        brand: Column of brands.
        categories: Column of category paths, texts or lists.
        description: Column of descriptions.
        price: Column of prices.
        image_url: Column of image addresses.
        separator: What stands between two categories of a text; None for ``|``.
        level_separator: What stands between the levels of a category.
        encoding: Of CSV files, as Python names it; None for ``utf-8``.
        items_encoding: That of ``items``, if another.
        core: Fewest interactions of each user and item; 0 keeps all. None for 5; all that is
            appended is kept.
        keep_items: ``all`` that are described, or those ``interacted`` with; None for ``all``.
        keep_later: Keep later interactions of the same user and item; None for no.
        change: ``append`` to the newest state of the data set, or ``replace`` it: the next state is
            a folder beside it, with the day in its name. Its settings and encoders are kept.
        memory: Largest memory of the tables, as ``2GB``.
        threads: Threads of the tables; 0 takes all cores.
        report: Told what goes on, how much of it is done, and of how much.

    Raises:
        ConfigError: If an option is wrong, or the packages of the extra ``prepare`` are missing.
        DataError: If a table cannot be read, or the folder is taken.
    """
    require_engine()
    earlier = Earlier.newest(Path(out), change) if change in CHANGES else None
    columns, item_columns = columns_of(
        {
            "user": user,
            "item": item,
            "time": time,
            "unit": unit,
            "time_format": time_format,
            "event": event,
            "keep_events": tuple(keep_events),
            "items_item": items_item,
            "title": title,
            "brand": brand,
            "categories": categories,
            "description": description,
            "price": price,
            "image_url": image_url,
            "separator": separator,
            "level_separator": level_separator,
            "encoding": encoding,
            "items_encoding": items_encoding,
        },
        earlier,
    )
    rules: dict[str, Any] = {"core": core, "keep_later": keep_later, "keep_items": keep_items}
    rules = rules_of(rules, earlier, replaces=change == "replace", keep_items="all")
    job = Preparation(Path(out), **rules, memory=memory, threads=threads, change=change)
    with tempfile.TemporaryDirectory(prefix="hm4sr-") as folder:
        files = [
            None if table is None else _as_file(table, role, Path(folder))
            for role, table in (("interactions", interactions), ("items", items))
        ]
        return _prepared(files, columns, item_columns, job, report)


def _prepared(
    files: Sequence[Path | None], columns: Any, item_columns: Any, job: Preparation, report: Report
) -> Prepared:
    """The data set of the files of interactions and of items, where there are any."""
    interactions, items = files
    assert interactions is not None
    provenance = prepare_tables(
        interactions, columns, job, items=items, item_columns=item_columns, report=report
    )
    is_known = provenance.pop("is_known", False)
    return Prepared(job.out.with_name(provenance["data_set"]), provenance, is_known)


def _as_file(table: Any, role: str, folder: Path) -> Path:
    """A file as it is; a table as a Parquet file of a folder."""
    if isinstance(table, (str, os.PathLike)):
        return Path(table)
    import duckdb

    given, path = table, folder / f"{role}.parquet"  # noqa: F841  # found by its name
    try:
        with duckdb.connect() as connection:
            # The engine finds the table by the name of the variable.
            connection.execute(f"COPY (SELECT * FROM given) TO {quote(str(path))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise DataError(
            f"{role} must be a file, or a table of pandas, Polars or Arrow with a type in each "
            f"column, got {type(table).__name__}: {first_line(error)}"
        ) from error
    return path
