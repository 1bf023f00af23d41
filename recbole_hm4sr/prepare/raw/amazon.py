"""Amazon's review files to a folder of atomic files, whatever their size.

Why this engine. Three things were asked at once: files larger than memory, every lost row counted
with its line, and a result that does not depend on chance. DuckDB keeps its tables in a file, holds
to a memory limit and spills what passes it to the disk, in grouping, joining and sorting alike;
transactions make half-done work recognisable. Polars reads JSON lines faster, but its streaming
engine has no limit to keep to, and what it cannot parse ends the query or becomes null without
saying where. Neither reads the Python literals of 2014. So lines are parsed here, by orjson, three
fields a review, which costs about as much as either engine's own reader, knows every line by its
number and hashes the file on the way; and DuckDB does what takes memory (:mod:`.tables`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.raw_lines import RawLines
from recbole_hm4sr.prepare.progress import Report, silent
from recbole_hm4sr.prepare.raw.amazon_forms import (
    UNIT_RANGES,
    Form,
    Parser,
    parse_record,
    read_item,
    read_review,
    recognise,
)
from recbole_hm4sr.prepare.tables.drops import DropCounts
from recbole_hm4sr.prepare.tables.item_fields import ItemRow
from recbole_hm4sr.prepare.tables.job import Loaded, Preparation, Source
from recbole_hm4sr.prepare.tables.tables import WorkTables, require_engine

_BATCH = 1 << 16


@dataclass
class ReviewColumns:
    """Reviews as columns; ``rows`` is the number of each line over all files."""

    users: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def prepare_amazon(
    reviews: Sequence[Path], meta: Sequence[Path], job: Preparation, *, report: Report = silent
) -> dict[str, Any]:
    """Write the atomic folder of some review and metadata files.

    Args:
        reviews: Review files of one release, plain or gzip; the order is the order of the rows.
        meta: Metadata files; none leaves the data set without an ``.item`` file.
        job: Where to write, and how.
        report: Told what goes on.

    Returns:
        What ``PROVENANCE.json`` says.

    Raises:
        DataError: If a file is not what it should be, nothing remains, or the folder is taken.
        ConfigError: If the packages of the extra ``prepare`` are missing.
    """
    require_engine()
    job.check(reviews, meta)
    sources = [Source("reviews", path, recognise(path, "reviews")) for path in reviews]
    sources += [Source("metadata", path, recognise(path, "metadata")) for path in meta]
    forms = {source.form for source in sources if source.role == "reviews"}
    if len({form.unit for form in forms}) > 1:
        raise DataError(
            f"the files of --reviews must be of one release, got "
            f"{', '.join(sorted(map(str, forms)))}; prepare them one by one"
        )
    return job.run(
        "amazon",
        sources,
        load_reviews=lambda tables: _load_reviews(tables, sources, report),
        load_items=(lambda tables: _load_items(tables, sources, report)) if meta else None,
        report=report,
    )


def parse_reviews(
    lines: Sequence[bytes], first: int, form: Form, parse: Parser, *, offset: int, name: str,
    drops: DropCounts, into: ReviewColumns,
) -> None:  # fmt: skip
    """Add the reviews of some lines to the columns, and count the others.

    Args:
        lines: A record each.
        first: Number of the first line in its file.
        form: How the file writes its records.
        parse: ``form.parser()``.
        offset: Lines of the files before.
        name: The file's name, for the places of what is dropped.
        drops: Where what is dropped is counted.
        into: What to extend.
    """
    user_field, item_field, time_field = form.fields
    low, high = UNIT_RANGES[form.unit]
    users, items, times, rows = into.users, into.items, into.times, into.rows
    for number, line in enumerate(lines, start=first):
        try:
            record = parse(line)
            user, item, time = record[user_field], record[item_field], record[time_field]
            # isalnum is the cheapest question that only names without a tab or a blank pass.
            plain = user.isalnum() and item.isalnum() and type(time) is int and low <= time < high
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, SyntaxError, TypeError,
                ValueError, AttributeError):  # fmt: skip
            plain = False
        if not plain:
            found = read_review(line, form, parse)
            if isinstance(found, str):
                drops.add(found, f"{name}, line {number}")
                continue
            user, item, time = found
        users.append(user)
        items.append(item)
        times.append(time)
        rows.append(offset + number)


def _load_reviews(tables: WorkTables, sources: Sequence[Source], report: Report) -> Loaded:
    loaded, columns, offset = Loaded(), ReviewColumns(), 0
    for source in (source for source in sources if source.role == "reviews"):
        loaded.unit = source.form.unit  # of one release, so of one unit
        lines, parse = RawLines(source.path), source.form.parser()
        for first, block in _watched(lines, source, report):
            parse_reviews(
                block, first, source.form, parse, offset=offset, name=source.path.name,
                drops=loaded.dropped, into=columns,
            )  # fmt: skip
            if len(columns.rows) >= _BATCH:
                tables.append_interactions(**vars(columns))
                columns = ReviewColumns()
        offset += lines.n_lines
        loaded.inputs.append(source.record(lines.facts))
    tables.append_interactions(**vars(columns))
    return loaded


def _load_items(tables: WorkTables, sources: Sequence[Source], report: Report) -> Loaded:
    loaded = Loaded()
    rows: list[ItemRow] = []
    for source in (source for source in sources if source.role == "metadata"):
        lines, parse = RawLines(source.path), source.form.parser()
        for first, block in _watched(lines, source, report):
            rows += _parse_items(block, first, source, parse, loaded)
            if len(rows) >= _BATCH:
                tables.append_items(rows)
                rows = []
        loaded.inputs.append(source.record(lines.facts))
    tables.append_items(rows)
    return loaded


def _parse_items(
    lines: Sequence[bytes], first: int, source: Source, parse: Parser, loaded: Loaded
) -> list[ItemRow]:
    rows = []
    for number, line in enumerate(lines, start=first):
        place = f"{source.path.name}, line {number}"
        record = parse_record(line, source.form, parse)
        row: ItemRow | str = (
            record
            if isinstance(record, str)
            else read_item(record, source.form, partial(loaded.emptied.add, place=place))
        )
        if isinstance(row, str):
            loaded.dropped.add(row, place)
        else:
            rows.append(row)
    return rows


def _watched(lines: RawLines, source: Source, report: Report) -> Iterator[tuple[int, list[bytes]]]:
    """The blocks of a file, with word of how far it is."""
    size = source.path.stat().st_size
    for block in lines.blocks():
        report(f"reading {source.path.name}", lines.n_bytes, size)
        yield block
