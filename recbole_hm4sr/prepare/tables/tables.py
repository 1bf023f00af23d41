"""The tables between raw files and atomic files: numbering, repeats, k-core, in bounded memory.

They live in one DuckDB file. A stage that is finished leaves a row in the table ``stages`` with its
last change, so a run that was stopped goes on behind its last stage, and half a stage counts as
none.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.tables.drops import DropCounts
from recbole_hm4sr.prepare.tables.item_fields import COLUMNS, ItemRow

DATABASE = "work.duckdb"
SAME_AGAIN = "the same user, item and time again"
# For query_progress; nothing is printed.
_N_EXAMPLES = 3  # names of each side in a sentence
_COUNT_PROGRESS = (
    "SET enable_progress_bar = true; SET enable_progress_bar_print = false; "
    "SET progress_bar_time = 0"
)
NEVER_TAKEN = "items that nobody interacted with"
TAKEN_OUT = "items that the core took out"
LATER_AGAIN = "the same user and item again, later"


def require_engine() -> None:
    """Raise a ConfigError unless the packages of the extra ``prepare`` are here."""
    try:
        import duckdb  # noqa: F401
        import orjson  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"hm4sr prepare needs DuckDB and orjson ({error}); install them with: "
            f"pip install 'recbole-hm4sr[prepare]'"
        ) from error


class WorkTables:
    """The database of one preparation; a context manager that closes it."""

    def __init__(self, folder: Path, *, memory: str, threads: int) -> None:
        import duckdb

        self.folder = folder
        settings: dict[str, Any] = {
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": "false",  # nothing is fetched from the net
        }
        if threads:
            settings["threads"] = threads
        try:
            self.connection = duckdb.connect(str(folder / DATABASE), config=settings)
            self.connection.execute("SET TimeZone = 'UTC'")
            # In a notebook without ipywidgets DuckDB refuses to count; only percentages are lost.
            with suppress(duckdb.InvalidInputException):
                self.connection.execute(_COUNT_PROGRESS)
            self.connection.execute(f"SET memory_limit = {quote(memory)}")
        except duckdb.ParserException as error:
            raise ConfigError(f"--memory must be a size such as 2GB, got {memory!r}") from error
        except duckdb.Error as error:
            raise DataError(
                f"cannot open the tables in {folder}: {first_line(error)}; wait if another hm4sr "
                f"prepare writes there, else remove the folder"
            ) from error
        self.run("CREATE TABLE IF NOT EXISTS stages (name VARCHAR, record VARCHAR)")

    def __enter__(self) -> "WorkTables":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows a statement gives.

        Raises:
            DataError: If the memory limit or the disk does not suffice.
        """
        import duckdb

        try:
            return self.ask(sql, *values)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise self.refusal(error) from error

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows a statement gives; the engine's errors are raised as they are."""
        try:
            return self.connection.execute(sql, values or None).fetchall()
        except RuntimeError as error:  # no duckdb.Error: its word for Ctrl-C
            if "interrupted" in str(error):
                raise KeyboardInterrupt from error
            raise

    def refusal(self, error: Exception) -> DataError:
        """What to say when the engine cannot go on."""
        return DataError(
            f"the memory and the disk of {self.folder} must suffice, got: {first_line(error)}; "
            f"give a larger --memory or free the disk, and start the command again"
        )

    # --- stages --------------------------------------------------------------------------------

    def finished(self, stage: str) -> Any:
        """What a finished stage recorded; None if it is not finished."""
        found = self.run("SELECT record FROM stages WHERE name = ?", stage)
        return json.loads(found[0][0]) if found else None

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """A transaction; the mapping it gives is recorded with its last change."""
        self.run("BEGIN")
        try:
            with self.loading(name) as record:
                yield record
        except BaseException:
            self.connection.rollback()
            raise
        self.run("COMMIT")

    @contextmanager
    def loading(self, name: str) -> Iterator[dict[str, Any]]:
        """A stage that makes its tables anew, batch by batch.

        No transaction: what is not yet committed stays in memory, whatever the limit.
        """
        record: dict[str, Any] = {}
        yield record
        self.run("INSERT INTO stages VALUES (?, ?)", name, json.dumps(record))

    # --- loading -------------------------------------------------------------------------------

    def create_interactions(self) -> None:
        """An empty table of raw interactions."""
        self.run(
            'CREATE OR REPLACE TABLE raw ("user" VARCHAR, item VARCHAR, time BIGINT, row BIGINT)'
        )

    def append_interactions(
        self, users: list[str], items: list[str], times: list[int], rows: list[int]
    ) -> None:
        """Add raw interactions."""
        columns = {
            "user": np.array(users, dtype=object),
            "item": np.array(items, dtype=object),
            "time": np.array(times, dtype=np.int64),
            "row": np.array(rows, dtype=np.int64),
        }
        self.append("raw", columns)

    def create_items(self, *, keep_all: bool) -> None:
        """An empty table of items, the names of those that interactions have, and of others.

        Args:
            keep_all: Whether to keep others as well, and not their names alone.
        """
        self._of_kept = "" if keep_all else "SEMI JOIN kept USING (item_id)"
        self.run("CREATE OR REPLACE TABLE others (item_id VARCHAR, row BIGINT)")
        kinds = {"float": "DOUBLE"}
        columns = ", ".join(
            f"{name} {kinds.get(kind, 'VARCHAR')}" for name, kind in COLUMNS.items()
        )
        self.run(f"CREATE OR REPLACE TABLE meta ({columns}, row BIGINT)")
        self.run(
            "CREATE OR REPLACE TABLE kept AS SELECT name AS item_id FROM items "
            "SEMI JOIN inter ON inter.item = items.id"
        )
        self.n_items_seen = 0
        self.first_items: list[str] = []

    def append_items(self, rows: Sequence[ItemRow]) -> None:
        """Add items; see :meth:`create_items`."""
        kinds = {"float": np.float64}
        columns = {
            name: np.array([getattr(row, name) for row in rows], dtype=kinds.get(kind, object))
            for name, kind in COLUMNS.items()
        }
        columns["row"] = np.arange(len(rows), dtype=np.int64) + self.n_items_seen
        self.n_items_seen += len(rows)
        self.first_items += [row.item_id for row in rows[: _N_EXAMPLES - len(self.first_items)]]
        self.append("meta", columns, self._of_kept)
        names = {name: columns[name] for name in ("item_id", "row")}
        self.append("others", names, "ANTI JOIN kept USING (item_id)")

    def count_others(self, *, once: bool = False) -> dict[str, int]:
        """Rows of items that no interaction is left of, by reason.

        Args:
            once: Count an item once, however many rows it has.
        """
        what = "DISTINCT item_id" if once else "*"
        counts = {
            NEVER_TAKEN: f"SELECT count({what}) FROM others ANTI JOIN items ON name = item_id",
            TAKEN_OUT: f"SELECT count({what}) FROM others SEMI JOIN items ON name = item_id",
        }
        found = {reason: self.run(sql)[0][0] for reason, sql in counts.items()}
        return {reason: count for reason, count in found.items() if count}

    def refuse_strangers(self, names: str) -> None:
        """Refuse files that describe no item of the interactions.

        Args:
            names: The files.

        Raises:
            DataError: If so.
        """
        if self.run("SELECT count(*) FROM meta SEMI JOIN kept USING (item_id)")[0][0]:
            return
        if not self.n_items_seen:
            raise DataError(f"{names} must describe items of the interactions, got no item")
        kept = self.run(f"SELECT item_id FROM kept ORDER BY item_id LIMIT {_N_EXAMPLES}")
        raise DataError(
            f"{names} must describe items of the interactions, but none of its "
            f"{self.n_items_seen:,} is one: it has {', '.join(self.first_items)}, and they have "
            f"{', '.join(name for (name,) in kept)}; name the column of the same keys"
        )

    def append(self, table: str, columns: dict[str, Any], condition: str = "") -> None:
        """Add rows to a table.

        Args:
            table: Its name.
            columns: An array of each of its columns; ``row`` is one of them.
            condition: Clause behind FROM, which may leave some out.
        """
        if not len(columns["row"]):
            return
        self.connection.register("batch", pd.DataFrame(columns))
        names = ", ".join(f'"{name}"' for name in columns)
        self.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM batch {condition}")
        self.connection.unregister("batch")

    # --- filtering -----------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Interactions, users and items that are left."""
        sql = 'SELECT count(*), count(DISTINCT "user"), count(DISTINCT item) FROM inter'
        rows, users, items = self.run(sql)[0]
        return {"interactions": rows, "users": users, "items": items}

    def number_names(self) -> None:
        """Replace names by numbers: the row in which each stands first.

        Rounds over two numbers cost a fraction of rounds over two texts.
        """
        for table, column in (("users", '"user"'), ("items", "item")):
            self.run(
                f"CREATE TABLE {table} AS SELECT {column} AS name, min(row) AS id FROM raw "
                f"GROUP BY {column}"
            )
        self.run(
            'CREATE TABLE inter AS SELECT users.id AS "user", items.id AS item, time, row FROM raw '
            'JOIN users ON users.name = raw."user" JOIN items ON items.name = raw.item'
        )
        self.run("DROP TABLE raw")

    def drop_repeats(self, *, keep_later: bool) -> DropCounts:
        """Keep the earliest interaction of each user and item; of equal times, the first row.

        Rows of an earlier data set, which are numbered below 1, are kept whatever comes.

        Args:
            keep_later: Drop only what is the same to the second.
        """
        self.run(
            """
            CREATE OR REPLACE TEMP TABLE repeats AS
            SELECT row, copy FROM (
                SELECT row,
                    row_number() OVER (
                        PARTITION BY "user", item ORDER BY row > 0, time, row
                    ) > 1 AS later,
                    row_number() OVER (PARTITION BY "user", item, time ORDER BY row) > 1 AS copy
                FROM inter SEMI JOIN (
                    SELECT "user", item FROM inter GROUP BY "user", item HAVING count(*) > 1
                ) AS several USING ("user", item)
            ) WHERE copy OR (later AND NOT ?)
            """,
            keep_later,
        )
        drops = DropCounts()
        for copy, count in self.run("SELECT copy, count(*) FROM repeats GROUP BY copy"):
            drops.add(SAME_AGAIN if copy else LATER_AGAIN, count=count)
        if drops.total:
            self.run("CREATE OR REPLACE TABLE inter AS SELECT * FROM inter ANTI JOIN repeats "
                     "USING (row)")  # fmt: skip
        self.run("DROP TABLE repeats")
        return drops

    def drop_below_core(self, core: int) -> DropCounts:
        """One round of the k-core: users with too few interactions, then items."""
        drops = DropCounts()
        before = self.run("SELECT count(*) FROM inter")[0][0]
        for column in ("user", "item"):
            self.run(
                f'CREATE OR REPLACE TABLE inter AS SELECT * FROM inter SEMI JOIN (SELECT "{column}"'
                f' FROM inter GROUP BY "{column}" HAVING count(*) >= ?) AS enough '
                f'USING ("{column}")',
                core,
            )
            left = self.run("SELECT count(*) FROM inter")[0][0]
            if left < before:
                whose = "a user" if column == "user" else "an item"
                drops.add(f"interactions of {whose} with fewer than {core}", count=before - left)
            before = left
        return drops

    # --- writing -------------------------------------------------------------------------------

    def write_interactions(self, path: Path) -> None:
        """Write the ``.inter`` file in the order of the raw rows."""
        self._copy(
            'SELECT users.name AS "user_id:token", items.name AS "item_id:token", '
            'time AS "timestamp:float" FROM inter JOIN users ON users.id = inter."user" '
            "JOIN items ON items.id = inter.item ORDER BY row",
            path,
        )

    def filled_columns(self) -> list[str]:
        """Columns of the items in which at least one has a value."""
        tests = ", ".join(f"bool_or({filled(name)})" for name in COLUMNS)
        row = self.run(f"SELECT {tests} FROM meta")[0]
        return [name for name, has in zip(COLUMNS, row, strict=True) if has]

    def write_items(self, path: Path, columns: Sequence[str]) -> dict[str, Any]:
        """Write the ``.item`` file, a row for each item by its token; give what it counts."""
        self.run(
            "CREATE OR REPLACE TEMP TABLE best AS SELECT * EXCLUDE (row, place) FROM (SELECT *, "
            "row_number() OVER (PARTITION BY item_id ORDER BY row) AS place FROM meta) "
            "WHERE place = 1"
        )
        cells = ", ".join(f'best.{name} AS "{name}:{COLUMNS[name]}"' for name in columns[1:])
        self._copy(
            f'SELECT item_id AS "item_id:token"{"," if cells else ""} {cells} FROM '
            f"(SELECT item_id FROM kept UNION SELECT item_id FROM best) "
            f"LEFT JOIN best USING (item_id) ORDER BY item_id",
            path,
        )
        sums = ", ".join(f"count(*) FILTER ({filled(name)})" for name in columns[1:])
        described, *counts = self.run(f"SELECT count(*){',' if sums else ''} {sums} FROM best")[0]
        bare = self.run("SELECT count(*) FROM kept ANTI JOIN best USING (item_id)")[0][0]
        return {
            "items": self.run("SELECT count(*) FROM kept")[0][0],
            "without_metadata": bare,
            "item_again_in_metadata": self.run("SELECT count(*) FROM meta")[0][0] - described,
            "filled": dict(zip(columns[1:], counts, strict=True)),
        }

    def _copy(self, query: str, path: Path) -> None:
        self.run(
            f"COPY ({query}) TO {quote(str(path))} "
            f"(FORMAT csv, HEADER, DELIMITER '\t', QUOTE '', ESCAPE '')"
        )


def quote(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """What an engine says, in one line."""
    return str(error).strip().split("\n")[0]


def filled(name: str, cell: str = "") -> str:
    """The condition that a column of the items has a value.

    Args:
        name: Of the column.
        cell: What SQL calls it, if another name.
    """
    cell = cell or name
    return f"{cell} IS NOT NULL" if COLUMNS[name] == "float" else f"coalesce({cell}, '') <> ''"
