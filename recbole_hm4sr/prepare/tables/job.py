"""One preparation from start to a finished folder: stages, what it counts, and what it leaves."""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import recbole_hm4sr
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.raw_lines import FileFacts
from recbole_hm4sr.prepare.progress import Report, engine_progress
from recbole_hm4sr.prepare.tables.atomic_folder import PROVENANCE, write_folder
from recbole_hm4sr.prepare.tables.drops import DropCounts
from recbole_hm4sr.prepare.tables.earlier import CHANGES, Earlier, next_folder
from recbole_hm4sr.prepare.tables.tables import DATABASE, WorkTables

KEEP_ITEMS = ("all", "interacted")


@dataclass(frozen=True)
class Source:
    """One raw file.

    Attributes:
        role: What it is given as.
        path: The file.
        form: How it writes its records; its words stand in ``PROVENANCE.json``.
        encoding: Of its text, as Python names it.
    """

    role: str
    path: Path
    form: Any
    encoding: str = "utf-8"

    def record(self, facts: FileFacts) -> dict[str, Any]:
        """The file in ``PROVENANCE.json``; by its name alone, since folders say nothing."""
        return {"role": self.role, "file": self.path.name, "form": str(self.form), **asdict(facts)}


@dataclass
class Loaded:
    """What reading gave.

    Attributes:
        dropped: Rows left out.
        emptied: Values left empty in rows that are kept.
        inputs: A record of each file.
        unit: Unit of the times.
        events: Rows of each event that is kept; empty where the rows have no events.
    """

    dropped: DropCounts = field(default_factory=DropCounts)
    emptied: DropCounts = field(default_factory=DropCounts)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    unit: str = "s"
    events: dict[str, int] = field(default_factory=dict)


Load = Callable[[WorkTables], Loaded]


@dataclass(frozen=True)
class Preparation:
    """Where to write, and how.

    Attributes:
        out: Folder of the data set, new or empty; its name is the data set's.
        core: Fewest interactions of each user and each item; 0 or 1 keeps all. None for 5, and for
            0 where interactions are appended: a week is too short to judge by.
        keep_later: Keep later interactions of the same user and item.
        memory: Largest memory of the tables, as ``2GB``; what passes it is spilled to the disk.
        threads: Threads of the tables; 0 leaves the engine's choice.
        keep_items: Items of the ``.item`` file: ``all`` that are described, or those
            ``interacted`` with in what is left.
        change: What becomes of the state of the data set that there is: ``append`` to it, or
            ``replace`` it; empty for a new data set. The next state gets a folder with the day.
    """

    out: Path
    core: int | None = None
    keep_later: bool = False
    memory: str = "2GB"
    threads: int = 0
    keep_items: str = "interacted"
    change: str = ""

    @property
    def least(self) -> int:
        """Fewest interactions of each user and item."""
        if self.core is not None:
            return self.core
        return 0 if self.change == "append" else 5

    @property
    def work(self) -> Path:
        """The folder of unfinished work, beside ``out``."""
        return self.out.with_name(f".{self.out.name}.unfinished")

    def check(self, reviews: Sequence[Path], items: Sequence[Path]) -> None:
        """Raise what can be known before anything is read.

        Raises:
            ConfigError: If an option is out of range.
            DataError: If a file is missing or the folder is taken.
        """
        if self.least < 0 or self.threads < 0:
            raise ConfigError(
                f"--core and --threads must be 0 or more, got {self.least} and {self.threads}"
            )
        if self.change == "append" and self.core is not None:
            raise ConfigError(
                f"--core must be left out with --append, which keeps all that comes, got "
                f"{self.core}; --replace with the whole log applies it anew"
            )
        if self.change and self.change not in CHANGES:
            raise ConfigError(f"change must be {' or '.join(CHANGES)}, got {self.change!r}")
        if self.keep_items not in KEEP_ITEMS:
            raise ConfigError(
                f"--keep_items must be {' or '.join(KEEP_ITEMS)}, got {self.keep_items!r}"
            )
        if not reviews:
            raise ConfigError("at least one file of interactions must be given, got none")
        for path in (*reviews, *items):
            if not path.is_file():
                raise DataError(f"the file {path} does not exist")
        if self.out.resolve() == Path.cwd():
            raise DataError(
                f"the folder of --out must be another than the one you are in, got {self.out}; "
                f"its name is the data set's"
            )
        if (
            not self.change
            and self.out.exists()
            and (not self.out.is_dir() or any(self.out.iterdir()))
        ):
            held = "a finished data set" if (self.out / PROVENANCE).is_file() else "other files"
            raise DataError(
                f"the folder {self.out} must be new or empty, got one with {held}; remove it, name "
                f"another with --out, or make its next state with --append or --replace"
            )

    def run(
        self,
        command: str,
        sources: Sequence[Source],
        *,
        load_reviews: Load,
        load_items: Load | None,
        report: Report,
        details: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Read, filter and write, behind the stages that an earlier call finished.

        Args:
            command: Name of the command, for ``PROVENANCE.json``.
            sources: The raw files.
            load_reviews: Fills the table of raw interactions.
            load_items: Fills the table of items; None for none.
            report: Told what goes on.
            details: Further options that the result depends on.
        """
        earlier = Earlier.newest(self.out, self.change) if self.change else None
        base = earlier if self.change == "append" else None  # whose rows stay
        if base is not None and base.knows([source.path for source in sources]):
            return {**base.provenance, "data_set": base.folder.name, "is_known": True}
        options = {"core": self.least, "keep_later": self.keep_later, **(details or {})}
        if earlier is not None:
            self._require_same_rules(base)
            options["earlier"] = earlier.record(self.change)
        items = [source for source in sources if source.role in ("metadata", "items")]
        rest = [source for source in sources if source not in items]
        with self._open_tables(_fingerprint(rest, options)) as tables:
            loaded = _stage_load(tables, load_reviews, base)
            inputs, steps = loaded["inputs"], _stage_filter(tables, self, loaded, report)
            if base is not None and load_items is None and base.items is not None:
                load_items = _nothing
            if load_items is not None:
                # Other metadata than before leaves what is known of the interactions valid.
                options["keep_items"] = self.keep_items
                described = _stage_items(
                    tables,
                    load_items,
                    _fingerprint(items, options),
                    keep_all=self.keep_items == "all",
                    base=base,
                )
                inputs, steps = inputs + described["inputs"], [*steps, described["step"]]
            if base is not None:
                inputs = [*base.provenance["inputs"], *inputs]
            provenance = _provenance(command, options, inputs, steps)
            with engine_progress(tables.connection, "writing", report):
                folder = self._write(
                    tables,
                    loaded["unit"],
                    provenance,
                    with_items=load_items is not None,
                    earlier=earlier,
                )
        # The folder appears under its name only here, whole.
        folder.replace(self.out.with_name(provenance["data_set"]))
        shutil.rmtree(self.work, ignore_errors=True)
        return provenance

    def _write(
        self,
        tables: WorkTables,
        unit: str,
        provenance: dict[str, Any],
        *,
        with_items: bool,
        earlier: Earlier | None,
    ) -> Path:
        """Write the folder among the unfinished work; the provenance then has its name."""
        name = next_folder(self.out).name if self.change else self.out.name
        provenance["data_set"] = name
        folder = self.work / "dataset"
        write_folder(folder, name, tables, unit, provenance, with_items=with_items, earlier=earlier)
        return folder

    def _require_same_rules(self, base: Earlier | None) -> None:
        """Refuse to append by another rule than that by which the rows before were kept."""
        if base is None:
            return
        base.require_unchanged()
        own = bool(base.provenance["options"].get("keep_later"))
        if own != self.keep_later:
            raise ConfigError(
                f"--keep_later must be {'given' if own else 'left out'} with --append, as for "
                f"{base.folder}"
            )

    def _open_tables(self, fingerprint: str) -> WorkTables:
        """The tables of the same job if it was begun, else new ones."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {self.work}: {error.strerror}") from error
        tables = WorkTables(self.work, memory=self.memory, threads=self.threads)
        if tables.finished("begun") != {"fingerprint": fingerprint}:
            if tables.finished("begun") is not None:
                tables.connection.close()
                for path in self.work.glob(f"{DATABASE}*"):  # and its log
                    path.unlink()
                tables = WorkTables(self.work, memory=self.memory, threads=self.threads)
            with tables.stage("begun") as record:
                record["fingerprint"] = fingerprint
        return tables


def _nothing(_: WorkTables) -> Loaded:
    """No new items."""
    return Loaded()


def _stage_load(tables: WorkTables, load: Load, base: Earlier | None) -> dict[str, Any]:
    if found := tables.finished("interactions"):
        return dict(found)
    with tables.loading("interactions") as record:
        tables.create_interactions()
        loaded = load(tables)
        rows = tables.run("SELECT count(*) FROM raw")[0][0]
        if not rows:
            names = ", ".join(entry["file"] for entry in loaded.inputs)
            raise DataError(
                f"{names} must hold at least one interaction that can be used, got none: "
                f"{loaded.dropped.sentence()}"
            )
        record["inputs"], record["unit"] = loaded.inputs, loaded.unit
        record["step"] = {"step": "read interactions"}
        if base is not None:
            names = ", ".join(entry["file"] for entry in loaded.inputs)
            n_before = base.add_interactions(tables, loaded.unit, names)
            record["unit"], rows = base.unit, rows + n_before
            record["step"]["earlier"] = {base.folder.name: n_before}
        record["step"] |= {
            "interactions": rows,
            "dropped": loaded.dropped.record(),
            **({"events": loaded.events} if loaded.events else {}),
        }
    return record


def _stage_filter(
    tables: WorkTables, job: Preparation, loaded: dict[str, Any], report: Report
) -> list[dict[str, Any]]:
    """Number, drop repeats, then rounds of the k-core; each a stage, so that its space is freed."""

    def finish(name: str, work: Callable[[], DropCounts | None]) -> dict[str, Any]:
        found = tables.finished(name)
        if found is None:
            with engine_progress(tables.connection, name, report), tables.stage(name) as found:
                drops = work() or DropCounts()
                found.update(step=name, **tables.counts(), dropped=drops.record())
        return dict(found)

    numbered = finish("numbering users and items", tables.number_names)
    loaded["step"].update({name: numbered[name] for name in ("users", "items")})
    steps = [
        loaded["step"],
        finish("repeats", lambda: tables.drop_repeats(keep_later=job.keep_later)),
    ]
    while job.least > 1 and (len(steps) == 2 or steps[-1]["dropped"]):
        name = f"{job.least}-core, round {len(steps) - 1}"
        steps.append(finish(name, lambda: tables.drop_below_core(job.least)))
    if not steps[-1]["interactions"]:
        raise DataError(
            f"at least one interaction must remain, got none of {steps[1]['interactions']:,} with "
            f"at least {job.least} for each user and item; set a smaller --core"
        )
    return steps


def _stage_items(
    tables: WorkTables, load: Load, fingerprint: str, *, keep_all: bool, base: Earlier | None
) -> dict[str, Any]:
    name = f"items of {fingerprint}"
    if found := tables.finished(name):
        return dict(found)
    tables.run("DELETE FROM stages WHERE starts_with(name, 'items of ')")
    with tables.loading(name) as record:
        tables.create_items(keep_all=keep_all)
        loaded = load(tables)
        if base is not None:
            base.add_items(tables, keep_all=keep_all)
        tables.refuse_strangers(", ".join(entry["file"] for entry in loaded.inputs))
        if not keep_all:
            for reason, count in tables.count_others().items():
                loaded.dropped.add(reason, count=count)
        record["inputs"] = loaded.inputs
        record["step"] = {
            "step": "read items",
            "dropped": loaded.dropped.record(),
            "values_left_empty": loaded.emptied.record(),
            "kept_without_interactions": tables.count_others(once=True) if keep_all else {},
        }
    return record


def _provenance(
    command: str,
    options: dict[str, Any],
    inputs: list[dict[str, Any]],
    steps: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "made_by": f"hm4sr prepare {command}",
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "options": options,
        "inputs": inputs,
        "steps": steps,
    }


def _fingerprint(sources: Sequence[Source], options: dict[str, Any]) -> str:
    """What decides whether tables that lie there belong to this job."""
    files = []
    for source in sources:
        facts = source.path.stat()
        files.append([source.role, str(source.path.resolve()), facts.st_size, facts.st_mtime_ns])
    return json.dumps([files, options, _versions()], sort_keys=True)


def _versions() -> dict[str, str]:
    return {
        "recbole-hm4sr": recbole_hm4sr.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("duckdb", "orjson")},
    }
