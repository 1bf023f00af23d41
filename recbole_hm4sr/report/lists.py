"""What the lists of a run are like beyond accuracy, for its page."""

from collections.abc import Mapping

from recbole_hm4sr.evaluate.candidates import CANDIDATES, LISTS_NOTE
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.report.run_files import RunFiles
from recbole_hm4sr.report.sections import metric_text, metric_title
from recbole_hm4sr.report.views import view_names


def lists_section(run: RunFiles) -> Section | None:
    """A table for each treatment of seen items, a row for each view of the model.

    Args:
        run: A finished run.

    Returns:
        None for a run without ``list_metrics``.
    """
    found: dict[str, Mapping[str, Mapping[str, float]]] = {
        label: run.metrics["views"][name].get("lists") or {}
        for name, label in view_names(run).items()
    } or {run.model: run.metrics.get("lists") or {}}
    tables = [
        _table({label: lists[history] for label, lists in found.items() if history in lists}, words)
        for history, words in CANDIDATES.items()
    ]
    return (
        Section(
            "lists",
            "What the lists are like",
            "Lists",
            ("Beyond accuracy: more is not always better.",),
            tables=tuple(table for table in tables if table.rows),
            notes=(LISTS_NOTE,),
        )
        if any(table.rows for table in tables)
        else None
    )


def _table(rows: Mapping[str, Mapping[str, float]], words: str) -> Table:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = tuple(
        (label, *(metric_text(row.get(name)) for name in names)) for label, row in rows.items()
    )
    return Table(("", *map(metric_title, names)), cells, caption=words)
