"""What the state before says of how tables are written, where the next one is told nothing."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.prepare.tables.earlier import Earlier
from recbole_hm4sr.prepare.tables.table_files import ItemColumns


def columns_of(
    given: Mapping[str, Any], earlier: Earlier | None
) -> tuple[InteractionColumns, ItemColumns]:
    """The columns of the tables: as given, else as before, else by their defaults.

    Args:
        given: By the names that :func:`recbole_hm4sr.prepare` has; None for what is not given, an
            empty text for what the tables no longer have.
        earlier: The state before; None for a new data set.
    """
    own = {name: value for name, value in given.items() if value not in (None, ())}
    options = {} if earlier is None else earlier.provenance.get("options", {})
    before = dict(options.get("columns") or {})
    if "unit" in own:  # the form of the dates of before says nothing of another unit
        before.pop("time_format", None)
    if "event" in own:
        before.pop("keep_events", None)
    columns = InteractionColumns.of_mapping(before | _known(own, InteractionColumns))
    items = _known(options.get("item_columns") or {}, ItemColumns)
    defaults = {"item": columns.item, "encoding": columns.encoding}
    renamed = {"items_item": "item", "items_encoding": "encoding"}
    own = {
        renamed.get(name, name): value
        for name, value in own.items()
        if name not in renamed.values()
    }
    return columns, ItemColumns(**{**defaults, **items, **_known(own, ItemColumns)})


def rules_of(
    given: Mapping[str, Any], earlier: Earlier | None, *, replaces: bool, keep_items: str
) -> dict[str, Any]:
    """What is kept of the files, by the names of :class:`Preparation`: as :func:`columns_of`.

    Args:
        given: ``core``, ``keep_later`` and ``keep_items``; None for what is not given.
        earlier: The state before.
        replaces: Whether a whole log comes in its place; what is appended has no core.
        keep_items: What it is by default.
    """
    rules = dict(given)
    options = {} if earlier is None else earlier.provenance.get("options", {})
    for name, default in (("keep_later", False), ("keep_items", keep_items)):
        if rules[name] is None:
            rules[name] = options.get(name, default)
    if replaces and rules["core"] is None and earlier is not None:
        rules["core"] = earlier.core
    return rules


def _known(values: Mapping[str, Any], columns: Any) -> dict[str, Any]:
    optional = {it.name: it.default is None for it in fields(columns)}
    return {
        name: None if value == "" and optional[name] else value
        for name, value in values.items()
        if name in optional
    }
