"""The states of a data set, a folder each: what the newest has, and what the next one keeps.

``shop`` is the first, ``shop-2026-12-07`` one that was made on that day, ``shop-2026-12-07-2`` the
second of the day. A folder that is finished is never changed, so a run finds the data that it was
trained on.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.interaction_columns import PROVENANCE
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.prepare.tables.item_fields import COLUMNS
from recbole_hm4sr.prepare.tables.tables import WorkTables, filled, quote

CHANGES = ("append", "replace")
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2})(?:-(\d+))?")
_READ_AGAIN = "prepare all of it anew with --replace"
# Behind all rows of a new table, of which those of one item are taken in their order.
_AFTER_ALL = 1 << 50


@dataclass(frozen=True)
class Earlier:
    """A finished state of a data set.

    Attributes:
        folder: Its folder, whose name is the data set's.
        provenance: What its ``PROVENANCE.json`` says.
        settings: What its YAML says.
    """

    folder: Path
    provenance: dict[str, Any]
    settings: dict[str, Any]

    @classmethod
    def newest(cls, out: Path, change: str) -> "Earlier":
        """The newest state of a data set.

        Args:
            out: Folder of the first.
            change: One of :data:`CHANGES`, for messages.

        Raises:
            ConfigError: If there is none.
            DataError: If its files cannot be read.
        """
        found = [it for it in _states(out) if (it / PROVENANCE).is_file()]
        if not found:
            raise ConfigError(
                f"--{change} must be of a data set that hm4sr prepare has made, but there is none "
                f"at {out}; leave it out the first time"
            )
        folder = found[-1]
        provenance = json.loads(_text_of(folder / PROVENANCE))
        settings = yaml.safe_load(_text_of(folder / f"{folder.name}.yaml")) or {}
        return cls(folder, provenance, settings)

    @property
    def interactions(self) -> Path:
        """Its ``.inter`` file."""
        return self.folder / f"{self.folder.name}.inter"

    @property
    def items(self) -> Path | None:
        """Its ``.item`` file; None where it has none."""
        path = self.folder / f"{self.folder.name}.item"
        return path if path.is_file() else None

    @property
    def unit(self) -> str:
        """Unit of its times."""
        return str(self.settings.get("timestamp_unit", "s"))

    @property
    def core(self) -> int | None:
        """The core of the whole log behind it: of the newest state before that was not appended.

        None where a state on the way there is gone.
        """
        options = self.provenance["options"]
        while options.get("earlier", {}).get("how") == "append":
            path = self.folder.with_name(options["earlier"]["data_set"]) / PROVENANCE
            if not path.is_file():
                return None
            options = json.loads(_text_of(path))["options"]
        core = options.get("core")
        return None if core is None else int(core)

    def knows(self, paths: Sequence[Path]) -> bool:
        """Whether all of some files are in it, by their content."""
        known = {entry["sha256"] for entry in self.provenance["inputs"]}
        return all(hash_file(path) in known for path in paths)

    def require_unchanged(self) -> None:
        """Refuse tables that are not as they were written.

        Raises:
            DataError: If one has changed, or is gone.
        """
        of = {entry["file"]: entry["sha256"] for entry in self.provenance["outputs"]}
        tables = [self.interactions, *([] if self.items is None else [self.items])]
        for path in tables:
            if not path.is_file() or hash_file(path) != of.get(path.name):
                raise DataError(
                    f"{path} must be as hm4sr prepare has written it, but has changed; put it "
                    f"back, or {_READ_AGAIN}"
                )

    def record(self, change: str) -> dict[str, Any]:
        """What the provenance of the next state says of it."""
        sha256 = hash_file(self.folder / PROVENANCE)
        return {"how": change, "data_set": self.folder.name, "sha256": sha256}

    # --- appending -----------------------------------------------------------------------------

    def add_interactions(self, tables: WorkTables, unit: str, names: str) -> int:
        """Add its interactions before those of the table ``raw``, all in its own unit.

        Args:
            tables: With the new interactions.
            unit: Theirs.
            names: Of their files, for messages.

        Returns:
            How many were added.

        Raises:
            DataError: If a new time has parts of a second and its own have none.
        """
        if (unit, self.unit) == ("ms", "s"):
            finer = tables.run(f"SELECT min(row) FROM raw WHERE time % {PER_SECOND['ms']} <> 0")
            if finer[0][0] is not None:
                raise DataError(
                    f"{names}, line {finer[0][0]}: times must be whole seconds to be appended to "
                    f"{self.folder}, got parts of a second; {_READ_AGAIN}"
                )
            tables.run(f"UPDATE raw SET time = time // {PER_SECOND['ms']}")
        if (unit, self.unit) == ("s", "ms"):
            tables.run(f"UPDATE raw SET time = time * {PER_SECOND['ms']}")
        columns = {"user_id": "user", "item_id": "item", "timestamp": "time"}
        before = tables.run("SELECT count(*) FROM raw")[0][0]
        tables.run(
            f'INSERT INTO raw SELECT "user", item, CAST(time AS BIGINT), '
            f"row_number() OVER () - (SELECT count(*) FROM {_reader(self.interactions, columns)}) "
            f"FROM {_reader(self.interactions, columns)}"
        )
        return int(tables.run("SELECT count(*) FROM raw")[0][0]) - int(before)

    def add_items(self, tables: WorkTables, *, keep_all: bool) -> None:
        """Add its items to the table ``meta``: a new line wins, cell by cell.

        Args:
            tables: With the new items.
            keep_all: Whether items without interactions keep their lines.
        """
        if self.items is None:
            return
        header = self.items.open(encoding="utf-8").readline().rstrip("\n").split("\t")
        names = [cell.split(":")[0] for cell in header]
        kinds = {name: "DOUBLE" if COLUMNS[name] == "float" else "VARCHAR" for name in names}
        cells = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in kinds.items())
        reader = _reader(self.items, {name: name for name in names})
        kept = "" if keep_all else "SEMI JOIN kept USING (item_id)"
        tables.run(
            f"CREATE OR REPLACE TEMP TABLE earlier AS SELECT {cells}, "
            f"{_AFTER_ALL} + row_number() OVER () AS row FROM {reader}"
        )
        for name in names[1:]:
            tables.run(
                f"UPDATE meta SET {name} = earlier.{name} FROM earlier "
                f"WHERE earlier.item_id = meta.item_id AND NOT ({filled(name, f'meta.{name}')})"
            )
        columns = ", ".join((*names, "row"))
        tables.run(
            f"INSERT INTO meta ({columns}) SELECT {columns} FROM earlier {kept} "
            f"ANTI JOIN meta USING (item_id)"
        )
        tables.run(
            "INSERT INTO others (item_id, row) SELECT item_id, row FROM earlier "
            "ANTI JOIN kept USING (item_id) ANTI JOIN others USING (item_id)"
        )

    # --- what the next state keeps -------------------------------------------------------------

    def settings_for(self, columns: Sequence[str], unit: str) -> str:
        """The YAML of the next state: this one's, with the unit of its times.

        Args:
            columns: Of the next ``.item`` file.
            unit: Of its times.

        Raises:
            DataError: If it names columns that are not there.
        """
        path = self.folder / f"{self.folder.name}.yaml"
        named = [*(self.settings.get("text_fields") or ()), self.settings.get("category_field")]
        missing = [name for name in named if name and name not in columns]
        if missing:
            raise DataError(
                f"{path} names the columns {', '.join(missing)}, which the new items do not have; "
                f"give their table and its flags, or take them out of that file"
            )
        if unit == self.unit:
            return _text_of(path)
        settings = {**self.settings, "timestamp_unit": unit}
        return yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)


def next_folder(out: Path) -> Path:
    """The folder of the next state: the first's with the day, and a number if that is taken."""
    dated = out.with_name(f"{out.name}-{_today().isoformat()}")
    number, folder = 1, dated
    while folder.exists():
        number += 1
        folder = dated.with_name(f"{dated.name}-{number}")
    return folder


def _today() -> date:
    return datetime.now(timezone.utc).date()


def _states(out: Path) -> list[Path]:
    """The folders of a data set in the order in which they were made."""
    found = [(("", 0), out)] if out.is_dir() else []
    for folder in out.parent.iterdir() if out.parent.is_dir() else ():
        dated = _DATED.fullmatch(folder.name.removeprefix(out.name))
        if dated and folder.name.startswith(out.name) and folder.is_dir():
            found.append(((dated[1], int(dated[2] or 1)), folder))
    return [folder for _, folder in sorted(found)]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} must be as hm4sr prepare has written it, but: {error}") from error


def _reader(path: Path, columns: dict[str, str]) -> str:
    """The rows of an atomic file as text; columns by their name there, in the file's order."""
    names = ", ".join(f"{quote(own)}: 'VARCHAR'" for own in columns.values())
    return (
        f"read_csv({quote(str(path))}, delim = '\t', quote = '', escape = '', header = true, "
        f"auto_detect = false, columns = {{{names}}})"
    )
