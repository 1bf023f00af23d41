"""A replay as a table, a page and a picture: a line for each policy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.evaluate.groups import CUT_GROUPS, FRESHNESS_NOTE
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import NONE, day, duration
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.page.shell import render

Rows = Sequence[Mapping[str, Any]]
ALL = "all targets"
# The group that claims rest on comes first.
GROUPS = (*CUT_GROUPS[:2], ALL, *CUT_GROUPS[2:])


def value_of(row: Mapping[str, Any], group: str, metric: str) -> float | None:
    """A metric of a group in a row; None where the group has no target."""
    metrics = row["metrics"] if group == ALL else row["groups"].get(group, {}).get("metrics", {})
    value: float | None = metrics.get(metric.lower())
    return value


def means(rows: Rows, group: str, metric: str) -> dict[str, float]:
    """Mean over all targets of a group in all weeks, by policy."""
    found = {}
    for policy in _policies(rows):
        weighted, total = 0.0, 0
        for row in rows:
            value = value_of(row, group, metric) if row["policy"] == policy else None
            if value is not None:
                n = row["targets"] if group == ALL else row["groups"][group]["n"]
                weighted, total = weighted + n * value, total + n
        if total:
            found[policy] = weighted / total
    return found


def summary_table(rows: Rows, metric: str) -> Table:
    """A row a policy: the metric of each group over all weeks, and seconds a week."""
    policies = _policies(rows)
    by_group = {group: means(rows, group, metric) for group in GROUPS}
    cells = []
    for policy in policies:
        own = [row for row in rows if row["policy"] == policy]
        learning = sum(row["learning_seconds"] for row in own) / len(own)
        values = [by_group[group].get(policy) for group in GROUPS]
        texts = [NONE if value is None else f"{value:.4f}" for value in values]
        cells.append((policy, *texts, duration(learning)))
    columns = ("policy", *GROUPS, "learning, a week")
    return Table(columns, tuple(cells), caption=f"{metric.upper()} over all weeks")


def weeks_table(rows: Rows, metric: str, group: str) -> Table:
    """A row a week: the metric of each policy."""
    policies = _policies(rows)
    cells = []
    for week in sorted({row["week"] for row in rows}):
        own = {row["policy"]: row for row in rows if row["week"] == week}
        first = next(iter(own.values()))
        n = first["targets"] if group == ALL else first["groups"].get(group, {}).get("n", 0)
        values = [value_of(own[it], group, metric) if it in own else None for it in policies]
        texts = [NONE if value is None else f"{value:.4f}" for value in values]
        cells.append((day(first["begins"]), f"{n:,}", *texts))
    return Table(("begins", "targets", *policies), tuple(cells), caption=f"{metric}, {group}")


def chart(rows: Rows, metric: str, group: str) -> LineChart:
    """A line for each policy, a point for each week."""
    weeks = sorted({row["week"] for row in rows})
    begins = {row["week"]: day(row["begins"]) for row in rows}
    by_place = {(row["policy"], row["week"]): row for row in rows}
    series = {
        policy: [
            value_of(by_place[policy, week], group, metric) if (policy, week) in by_place else None
            for week in weeks
        ]
        for policy in _policies(rows)
    }
    return line_chart(
        group.capitalize(),
        [begins[week] for week in weeks],
        series,
        x_title="week that begins on",
        y_title=metric.upper(),
        explained="A line for each policy: how good its rankings are in each week, judged before "
        "anything is learned from that week.",
    )


def write_pictures(rows: Rows, metric: str, folder: Path, *, title: str) -> None:
    """Write ``replay.html`` and ``replay.svg``.

    Args:
        rows: Of a replay; at least one.
        metric: As ``NDCG@10``.
        folder: Where to.
        title: Model and data set.

    Raises:
        WriteError: If they cannot be written.
    """
    shown = [group for group in GROUPS if means(rows, group, metric)]
    first = shown[0] if shown else ALL
    sections = [
        Section(
            "weeks",
            "The weeks after training",
            "weeks",
            words=(
                "Each week is judged before anything is learned from it. Policies: frozen, nothing "
                "changes after training; refreshed, the memory is brought up to the beginning of "
                "each week; updated, the model also takes some passes over each week that has "
                "passed; retrained, it is trained from the start before each week.",
            ),
            charts=tuple(chart(rows, metric, group) for group in shown[:4]),
            tables=(summary_table(rows, metric),),
            notes=(
                FRESHNESS_NOTE,
                "Known and new are counted in what training knew. Candidates are the items that "
                "have a row by the end of the week.",
            ),
        ),
        Section("numbers", "Week by week", "numbers", tables=(weeks_table(rows, metric, first),)),
    ]
    write_text(
        folder / "replay.html", render("later", "replay.html", title=title, sections=sections)
    )
    picture = chart(rows, metric, first)
    write_text(
        folder / "replay.svg",
        render("later", "replay.svg", title=title, sections=[], chart=picture),
    )


def _policies(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["policy"] for row in rows))
