"""Charts of the rows of a comparison: their metric, and how far they are from the baseline."""

import math

from recbole_hm4sr.compare.summary import ALL, Summary
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.page.bar_chart import RowChart, horizontal_bars


def score_chart(summary: Summary) -> RowChart | None:
    """The first metric of every row, with the spread of its seeds; None without a result."""
    metric = summary.metrics[0]
    rows, intervals = [], []
    for row in summary.rows:
        score = row.scores.get((ALL, metric))
        if not row.seeds or score is None or math.isnan(score.mean):
            continue
        rows.append((row.label, [score.mean], f"{score.mean:.4f}"))
        several = not math.isnan(score.deviation)
        ends = (max(0.0, score.mean - score.deviation), score.mean + score.deviation)
        intervals.append(ends if several else None)
    if not rows:
        return None
    return horizontal_bars(
        f"Test {metric}, {CANDIDATES[summary.rank_history]}",
        rows,
        x_title=metric,
        explained="A long bar is a good model; a whisker is the standard deviation over its seeds, "
        "where it has several.",
        intervals=intervals,
    )


def difference_chart(summary: Summary) -> RowChart | None:
    """How far every row is from the baseline, on the same users; None where nothing is tested."""
    metric = summary.metrics[0]
    tests = {row.label: row.tests[metric][0] for row in summary.rows if metric in row.tests}
    if not tests:
        return None
    return horizontal_bars(
        f"{metric} above or below {summary.baseline}",
        [(label, [test.difference], f"{test.difference:+.4f}") for label, test in tests.items()],
        x_title=f"difference of {metric}",
        explained="How far each row is above the baseline on the same users; a whisker (95 % "
        "interval) that holds zero is no difference.",
        intervals=[
            None if math.isnan(test.low) else (test.low, test.high) for test in tests.values()
        ],
    )
