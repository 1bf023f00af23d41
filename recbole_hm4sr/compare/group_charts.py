"""Charts of a comparison by group of test targets."""

import math
from collections.abc import Sequence

from recbole_hm4sr.compare.summary import ALL, Row, Summary
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.groups import Grouping, telling
from recbole_hm4sr.page.charts import N_COLOURS, LineChart, line_chart
from recbole_hm4sr.report.sections import SMALL_NOTE, group_explained


def group_charts(summary: Summary) -> tuple[tuple[LineChart, ...], tuple[str, ...]]:
    """The first metric by group, a line a row, and what to know of the charts.

    Args:
        summary: Of the protocol that is drawn.

    Returns:
        No chart where no row has a result, or nothing tells the targets apart.
    """
    metric = summary.metrics[0]
    done = [row for row in summary.rows if row.seeds]
    best = sorted(done, key=lambda row: -row.scores[ALL, metric].mean)[:N_COLOURS]
    shown = [row for row in done if row in best]
    if not shown:
        return (), ()
    charts = tuple(
        _chart(summary, grouping, numbers, shown, metric)
        for grouping, numbers in telling(summary.group_sizes)
    )
    small = any(
        grouping.names[number] in summary.small_groups
        for grouping, numbers in telling(summary.group_sizes)
        for number in numbers
    )
    few = f" The {len(shown)} best rows; the others are in the tables." * (len(shown) < len(done))
    words = (
        f"{metric} with {CANDIDATES[summary.rank_history]}, by what a model knew of the user and "
        f"of the target.{few}",
        *[SMALL_NOTE] * small,
    )
    return charts, words


def _chart(
    summary: Summary,
    grouping: Grouping,
    numbers: Sequence[int],
    rows: Sequence[Row],
    metric: str,
) -> LineChart:
    names = [grouping.names[number] for number in numbers]
    return line_chart(
        grouping.title,
        [grouping.labels[number] for number in numbers],
        {row.label: [_mean(row, name, metric) for name in names] for row in rows},
        x_title="group",
        y_title=metric,
        explained=f"{group_explained(grouping.title)} A line for each row.",
        faint=[number for number, name in enumerate(names) if name in summary.small_groups],
    )


def _mean(row: Row, group: str, metric: str) -> float | None:
    mean = row.scores[group, metric].mean
    return None if math.isnan(mean) else mean
