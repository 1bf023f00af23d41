"""What a run was worth on later interactions: a verdict and short tables, and a page with all."""

import json
from collections.abc import Iterable
from pathlib import Path

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.evaluate.groups import CUT_GROUPS, FRESHNESS_NOTE, GROUP_NOTE
from recbole_hm4sr.later.evaluation import ADDED, LaterMetrics
from recbole_hm4sr.page.format import NONE, percent
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.page.shell import render
from recbole_hm4sr.report.baselines import standing

# What a terminal shows, of the metrics that a run has; the page has all.
_TITLES = {"ndcg@10": "NDCG@10", "mrr@10": "MRR@10", "hit@10": "Hit@10"}
_SHORT_GROUPS = (*CUT_GROUPS, ADDED, "head", "middle", "tail", "new users", "known users")


def sentences(found: LaterMetrics) -> tuple[str, ...]:
    """What was judged, in words."""
    return (
        f"{found.n_interactions:,} new interactions, {found.n_targets:,} of them judged: those "
        f"with one of their user before them.",
        f"{percent(found.unknown_users)} are of users that the run does not know, "
        f"{percent(found.unknown_items)} of items that it does not know; such an item counts as "
        f"missed.",
        *_added_sentence(found),
    )


def _added_sentence(found: LaterMetrics) -> tuple[str, ...]:
    words = "are of items that were added after training; they are ranked by their features."
    return (f"{percent(found.added_items)} {words}",) if found.added_items else ()


def verdict(found: LaterMetrics) -> tuple[str, ...]:
    """How the run, models without training and the run's own test stand by one metric."""
    name = _shown(found)[0]
    own, before = found.metrics[name], found.own_test.get(name)
    scores = {label: values[name] for label, values in found.baselines.items() if name in values}
    listed = "".join(f", {label} {score:.4f}" for label, score in scores.items())
    tested = "" if before is None else f"; its own test had {before:.4f}"
    said = [f"On the later data the run has {_title(name)} {own:.4f}{listed}{tested}."]
    return (*said, *filter(None, [standing("The run", own, scores)]))


def short_tables(found: LaterMetrics) -> tuple[Table, ...]:
    """Up to three metrics, beside those of other models and by a few groups: 80 columns wide."""
    names = _shown(found)
    return (_metrics_table(found, names), _groups_table(found, names, _SHORT_GROUPS))


def _shown(found: LaterMetrics) -> tuple[str, ...]:
    """The metrics of a terminal; of a run with none of these the first three."""
    names = tuple(name for name in _TITLES if name in found.metrics)
    return names or tuple(found.metrics)[: len(_TITLES)]


def _title(name: str) -> str:
    return _TITLES.get(name, name.upper())


def _metrics_table(found: LaterMetrics, names: tuple[str, ...]) -> Table:
    rows = {
        "the run, later": found.metrics,
        "the run, its own test": found.own_test,
        **{f"{name}, later": values for name, values in found.baselines.items()},
    }
    cells = tuple((label, *_values(values, names)) for label, values in rows.items())
    return Table(("", *map(_title, names)), cells, caption="Metrics")


def _groups_table(found: LaterMetrics, names: tuple[str, ...], groups: Iterable[str]) -> Table:
    cells = tuple(
        (name, f"{found.groups[name]['n']:,}", *_values(found.groups[name]["metrics"], names))
        for name in groups
        if name in found.groups
    )
    return Table(("group", "targets", *map(_title, names)), cells, caption="By group")


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
    names = tuple(found.metrics)
    first = (*CUT_GROUPS, ADDED)
    order = (*first, *(name for name in found.groups if name not in first))
    metrics, groups = _metrics_table(found, names), _groups_table(found, names, order)
    lists = "; ".join(f"{name} {value:.4f}" for name, value in found.lists.items())
    words = (*verdict(found), *sentences(found), f"The lists beyond accuracy: {lists}.")
    sections = [
        Section("metrics", "Metrics", "metrics", words=words, tables=(metrics,)),
        Section("groups", "Groups", "groups", tables=(groups,), notes=(FRESHNESS_NOTE, GROUP_NOTE)),
        Section(
            "drift",
            "Drift",
            "drift",
            tables=(_drift_table(found),),
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
