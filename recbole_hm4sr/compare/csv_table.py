"""All numbers of a comparison with all their digits, for a CSV file or a frame."""

import math
from collections.abc import Sequence

from recbole_hm4sr.compare.summary import ALL, Row, Summary
from recbole_hm4sr.evaluate.groups import GROUP_NAMES
from recbole_hm4sr.evaluate.statistics import PairedTest

_NO_TEST = PairedTest(math.nan, math.nan, math.nan, math.nan, math.nan, 0)


def csv_records(summaries: Sequence[Summary]) -> list[dict[str, object]]:
    """All numbers with all digits, a record per data set, protocol, model, group and metric.

    What the lists are like, where it was measured, comes last.

    A number that there is not is NaN.
    """
    return [
        _csv_record(summary, row, group, metric)
        for summary in summaries
        for row in summary.rows
        for metric in summary.metrics
        for group in (ALL, *GROUP_NAMES)
    ] + [
        _csv_record(summary, row, ALL, metric)
        for summary in summaries
        for row in summary.rows
        for metric in row.lists
    ]


def _csv_record(summary: Summary, row: Row, group: str, metric: str) -> dict[str, object]:
    score = row.lists[metric] if metric in row.lists else row.scores[group, metric]
    return {
        "dataset": summary.dataset,
        "generated": summary.generated,
        "rank_history": summary.rank_history,
        "tie_order": summary.tie_order,
        "model": row.label,
        "metric": metric,
        "group": group,
        "users": summary.group_sizes.get(group, 0),
        "seeds": len(row.seeds),
        "trials": row.n_trials,
        "mean": score.mean,
        "standard_deviation": score.deviation,
        "baseline": summary.baseline,
        **_csv_test(row, metric if group == ALL else ""),
        "seconds_per_epoch": row.seconds_per_epoch,
        "zero_score_share": row.zero_score_share,
        "n_parameters": row.n_parameters or math.nan,
        "peak_memory_mb": row.peak_memory_mb,
        "reason": row.reason,
    }


def _csv_test(row: Row, metric: str) -> dict[str, float]:
    """The comparison with the baseline; NaN where there is none, as for groups."""
    test, adjusted = row.tests.get(metric, (_NO_TEST, math.nan))
    return {
        "relative_difference": row.relative.get(metric, math.nan),
        "difference": test.difference,
        "interval_low": test.low,
        "interval_high": test.high,
        "d_z": test.effect_size,
        "p": test.p,
        "p_holm": adjusted,
    }
