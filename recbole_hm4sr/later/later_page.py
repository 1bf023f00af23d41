"""What a run was worth on later interactions, as sentences, tables and a page."""

import json
from pathlib import Path

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.evaluate.groups import CUT_GROUPS, FRESHNESS_NOTE, GROUP_NOTE
from recbole_hm4sr.later.evaluation import ADDED, LaterMetrics
from recbole_hm4sr.page.format import NONE, percent
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.page.shell import render


def sentences(found: LaterMetrics) -> tuple[str, ...]:
    """What there is to say in words."""
    return (
        f"{found.n_interactions:,} new interactions, {found.n_targets:,} of them judged: those "
        f"with one of their user before them.",
        f"{percent(found.unknown_users)} are of users that the run does not know, "
        f"{percent(found.unknown_items)} of items that it does not know; such an item counts as "
        f"missed.",
        *_added_sentence(found),
        "; ".join(f"{name} {value:.4f}" for name, value in found.lists.items()) + ".",
    )


def _added_sentence(found: LaterMetrics) -> tuple[str, ...]:
    words = "are of items that were added after training; they are ranked by their features."
    return (f"{percent(found.added_items)} {words}",) if found.added_items else ()


def tables(found: LaterMetrics) -> tuple[Table, ...]:
    """Metrics beside those of the run's test and of models without training; groups; drift."""
    return (_metrics_table(found), _groups_table(found), _drift_table(found))


def _metrics_table(found: LaterMetrics) -> Table:
    names = tuple(found.metrics)
    rows = {
        "the run, later": found.metrics,
        "the run, its own test": found.own_test,
        **{f"{name}, later": values for name, values in found.baselines.items()},
    }
    cells = tuple((label, *_values(values, names)) for label, values in rows.items())
    return Table(("", *(name.upper() for name in names)), cells, caption="Metrics")


def _groups_table(found: LaterMetrics) -> Table:
    names = tuple(found.metrics)
    first = [*CUT_GROUPS, ADDED]
    order = [*first, *(name for name in found.groups if name not in first)]
    cells = tuple(
        (name, f"{found.groups[name]['n']:,}", *_values(found.groups[name]["metrics"], names))
        for name in order
        if name in found.groups
    )
    columns = ("group", "targets", *(name.upper() for name in names))
    return Table(columns, cells, caption="By group")


def _drift_table(found: LaterMetrics) -> Table:
    cells = tuple(
        (it.what, it.before, it.later, "" if it.distance is None else f"{it.distance:.3f}")
        for it in found.drift
    )
    columns = ("", "before", "later", "distance")
    return Table(columns, cells, caption="Drift of the interactions")


def _values(metrics: dict[str, float], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{metrics[name]:.4f}" if name in metrics else NONE for name in names)


def write_page(found: LaterMetrics, folder: Path, *, title: str) -> None:
    """Write ``later.html``, and the numbers as ``later.json``.

    Raises:
        WriteError: If they cannot be written.
    """
    metrics, groups, drift = tables(found)
    sections = [
        Section("metrics", "Metrics", "metrics", words=sentences(found), tables=(metrics,)),
        Section("groups", "Groups", "groups", tables=(groups,), notes=(FRESHNESS_NOTE, GROUP_NOTE)),
        Section(
            "drift",
            "Drift",
            "drift",
            tables=(drift,),
            notes=(
                "Distance: half the sum of the differences of the shares of ranges or categories; "
                "0 for the same, 1 for nothing in common.",
            ),
        ),
    ]
    write_text(
        folder / "later.html", render("later", "replay.html", title=title, sections=sections)
    )
    write_text(folder / "later.json", json.dumps(found.to_plain(), indent=2) + "\n")
