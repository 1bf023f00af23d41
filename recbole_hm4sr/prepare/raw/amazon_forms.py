"""The three releases of Amazon's reviews: recognised by content, parsed a record at a time.

======== ================================= ==================================================
release  reviews                           metadata
======== ================================= ==================================================
2014     reviewerID, asin, unixReviewTime  Python literals: asin, title, brand, categories
         (seconds)                         (paths), price, imUrl
2018     the same                          asin, title, brand, category, price ("$12.99"),
                                           imageURLHighRes
2023     user_id, parent_asin, timestamp   parent_asin, title, store, categories, price,
         (milliseconds)                    images (hi_res, large)
======== ================================= ==================================================

Some files of the 2014 release are JSON, some are what Python prints; either is taken for either
kind. A literal is read by ``ast.literal_eval``, which runs no code.
"""

import ast
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.raw_lines import RawLines
from recbole_hm4sr.prepare.tables.item_fields import (
    Fault,
    ItemRow,
    as_texts,
    clean_token,
    make_item_row,
)

Kind = Literal["reviews", "metadata"]
Parser = Callable[[bytes], Any]
# Milliseconds of 1973; fewer are seconds in the wrong column.
UNIT_RANGES = {"s": (0, 10**11), "ms": (10**11, 10**14)}
_LOOK_AT = 100
_REVIEW_FIELDS = frozenset(
    {"reviewerID", "unixReviewTime", "reviewText", "overall", "user_id", "timestamp"}
)
_NOT_JSON, _NOT_LITERAL = "line is no JSON object", "line is no Python literal of a dict"
_LITERAL_ERRORS = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Form:
    """How one file writes its records.

    Attributes:
        kind: What a record is.
        release: Year of the release.
        literal: True for Python literals, False for JSON.
    """

    kind: Kind
    release: int
    literal: bool

    def __str__(self) -> str:
        written = "Python literals" if self.literal else "JSON lines"
        return f"{self.kind} of {self.release}, {written}"

    @property
    def fields(self) -> tuple[str, str, str]:
        """Names of user, item and time in a review."""
        if self.release == 2023:
            return "user_id", "parent_asin", "timestamp"
        return "reviewerID", "asin", "unixReviewTime"

    @property
    def unit(self) -> Literal["s", "ms"]:
        """Unit of the time."""
        return "ms" if self.release == 2023 else "s"

    def parser(self) -> Parser:
        """What turns a line into a record; raises ``ValueError`` and its like."""
        return _parse_literal if self.literal else _json_parser()


def recognise(path: Path, kind: Kind) -> Form:
    """The form of a file, by the first of its lines that parses.

    Raises:
        DataError: If none of the first lines is such a record, or it is of the other kind.
    """
    first, seen = b"", 0
    for number, lines in RawLines(path).blocks():
        for place, line in enumerate(lines, start=number):
            first = first or line
            form = _form_of(line)
            if form is not None and form.kind != kind:
                raise DataError(
                    f"{path}, line {place} must be a record of {kind}, got {form}; "
                    f"are --reviews and --meta swapped?"
                )
            if form is not None:
                return form
        seen += len(lines)
        if seen >= _LOOK_AT:
            break
    text = first.decode("utf-8", "replace").strip()
    raise DataError(
        f"{path} must hold {kind} of Amazon's 2014, 2018 or 2023 release, a JSON object or Python "
        f"literal a line, got {text if len(text) <= 80 else text[:77] + '...'!r} in its first line"
    )


def _form_of(line: bytes) -> Form | None:
    for literal, parse in ((False, _json_parser()), (True, _parse_literal)):
        try:
            record = parse(line)
        except _LITERAL_ERRORS:
            continue
        if not isinstance(record, dict) or not record.keys() & {"asin", "parent_asin", "user_id"}:
            return None
        kind: Kind = "reviews" if record.keys() & _REVIEW_FIELDS else "metadata"
        return Form(kind, _release_of(record, kind, literal=literal), literal)
    return None


def _release_of(record: Mapping[str, Any], kind: Kind, *, literal: bool) -> int:
    if record.keys() & {"parent_asin", "user_id"}:
        return 2023
    if literal:
        return 2014
    marks_2018 = {"verified", "style", "vote"} if kind == "reviews" else {"category", "also_buy"}
    marks_2014 = {"helpful"} if kind == "reviews" else {"categories", "imUrl", "salesRank"}
    return 2018 if record.keys() & marks_2018 and not record.keys() & marks_2014 else 2014


def read_review(line: bytes, form: Form, parse: Parser) -> tuple[str, str, int] | str:
    """User, item and time of a review, or the reason why it has none: the patient form.

    The quick form is :func:`recbole_hm4sr.prepare.raw.amazon.parse_reviews`; it asks here about
    every line that is not as it should be.
    """
    record = parse_record(line, form, parse)
    if isinstance(record, str):
        return record
    user_field, item_field, time_field = form.fields
    values = {}
    for name, value in (
        ("user", record.get(user_field)),
        ("item", record.get(item_field) or record.get("asin")),
    ):
        if value is None or value == "":
            return f"no {name}"
        values[name] = clean_token(value)
        if values[name] is None:
            return f"{name}'s name is no plain text"
    time = read_time(record.get(time_field), form.unit)
    if isinstance(time, str):
        return time
    return str(values["user"]), str(values["item"]), time


def read_time(value: Any, unit: str) -> int | str:
    """A whole time of its unit, or the reason why it is none.

    >>> read_time("1405296000", "s"), read_time(1405296000, "ms"), read_time(None, "s")
    (1405296000, 'time is not in ms', 'no time')
    """
    if value is None or value == "":
        return "no time"
    try:
        number = float(value)
        whole = not isinstance(value, bool) and number == int(number)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        return "time is no whole number"
    low, high = UNIT_RANGES[unit]
    return int(number) if low <= number < high else f"time is not in {unit}"


def parse_record(line: bytes, form: Form, parse: Parser) -> dict[str, Any] | str:
    """The record of a line, or the reason why it has none."""
    if not line.strip():
        return "line is blank"
    try:
        record = parse(line)
    except _LITERAL_ERRORS:
        record = None
    if isinstance(record, dict):
        return record
    try:
        line.decode()
    except UnicodeDecodeError:
        return "line is not UTF-8"
    return _NOT_LITERAL if form.literal else _NOT_JSON


def read_item(record: Mapping[str, Any], form: Form, fault: Fault) -> ItemRow | str:
    """The columns of an item, or the reason why the record names none."""
    raw = record.get("parent_asin") or record.get("asin")
    if raw is None or raw == "":
        return "no item"
    token = clean_token(raw)
    if token is None:
        return "item's name is no plain text"
    return make_item_row(
        token,
        title=record.get("title"),
        brand=record.get("store") if form.release == 2023 else record.get("brand"),
        paths=_paths(record),
        price=record.get("price"),
        image_url=_image(record),
        fault=fault,
    )


def _paths(record: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Category paths: a list of paths in 2014, one path in 2018 and 2023."""
    value = record.get("categories") or record.get("category") or []
    if isinstance(value, str):
        return [[value]]
    if not isinstance(value, list | tuple):
        return []
    return value if value and isinstance(value[0], list | tuple) else [value]


def _image(record: Mapping[str, Any]) -> str:
    """The address of the main image in its largest size."""
    images = record.get("images") or []
    if isinstance(images, Mapping):  # as some mirrors have it: a list for each size
        sizes = (as_texts(images.get(size)) for size in ("hi_res", "large", "thumb"))
    else:
        parts = [part for part in images if isinstance(part, Mapping)]
        parts.sort(key=lambda part: part.get("variant") != "MAIN")
        sizes = (as_texts([part.get(s) for s in ("hi_res", "large", "thumb")]) for part in parts)
    older = (
        as_texts(record.get(name)) for name in ("imUrl", "imageURLHighRes", "imageURL", "image")
    )
    return next((text for texts in itertools.chain(sizes, older) for text in texts), "")


def _parse_literal(line: bytes) -> Any:
    return ast.literal_eval(line.decode().strip())


def _json_parser() -> Parser:
    import orjson

    return orjson.loads
