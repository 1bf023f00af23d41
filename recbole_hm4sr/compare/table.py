"""The tables of a comparison: results, paired tests, groups; one set a data set and protocol."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from recbole_hm4sr.compare.summary import ALL, GROUPS, Row, Score, Summary

_NONE = "-"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One field of a table: its text, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table ready to be written down.

    Attributes:
        title: What it shows, under which protocol.
        columns: Headings.
        rows: As many entries each as there are headings; the last of a shorter row spans the rest.
        notes: Sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...]


def build_tables(summary: Summary) -> list[Table]:
    """All tables of one data set and one treatment of histories."""
    tables = [_results(summary), _groups(summary)]
    if any(row.tests for row in summary.rows):
        tables.insert(1, _tests(summary))
    return tables


def _title(summary: Summary, what: str) -> str:
    generated = " (GENERATED data)" if summary.generated else ""
    return (
        f"{summary.dataset}{generated}: {what}; rank_history: {summary.rank_history}, "
        f"tie_order: {summary.tie_order}"
    )


def _results(summary: Summary) -> Table:
    best = {metric: _best(summary, ALL, metric) for metric in summary.metrics}
    searched = any(row.n_trials for row in summary.rows)
    columns = ["model", "seeds", *["trials"] * searched]
    for metric in summary.metrics:
        columns += [metric, f"vs {summary.baseline}"]
    rows = []
    for row in summary.rows:
        entries = [Entry(row.label), Entry(f"{len(row.seeds)}/{len(summary.seeds)}")]
        elsewhere = row.searched_on not in ("", summary.dataset)
        trials = f"{row.n_trials} on {row.searched_on}" if elsewhere else str(row.n_trials)
        entries += [Entry(trials)] * searched
        if not row.seeds:
            rows.append((*entries, Entry(row.reason)))
            continue
        for metric in summary.metrics:
            score = row.scores[ALL, metric]
            entries.append(Entry(_score(score), score.mean == best[metric]))
            entries.append(Entry(_percent(row.relative.get(metric, math.nan))))
        entries += [
            Entry(_number(row.seconds_per_epoch, 2)),
            Entry(f"{row.n_parameters:,}" if row.n_parameters else _NONE),
            Entry(_number(row.peak_memory_mb, 0)),
        ]
        rows.append(tuple(entries))
    numbers = ", ".join(map(str, summary.seeds))
    several = len(summary.seeds) > 1
    over = f"Mean ± standard deviation over seeds {numbers}" if several else f"Seed {numbers}"
    items = f"all {summary.n_items:,} items" if summary.n_items else "all items"
    notes = (
        f"{over}; {summary.group_sizes[ALL]:,} test targets, one ranking of {items} each; best "
        f"epochs chosen on validation (rank_history: {summary.chosen_by}).",
        *_reasons(summary.rows),
        *_seeds(summary),
        *summary.notes,
    )
    columns += ["s/epoch", "parameters", "peak MiB"]
    return Table(_title(summary, "results"), tuple(columns), tuple(rows), notes)


def _tests(summary: Summary) -> Table:
    columns = ("model", "metric", "difference", "95 % interval", "d_z", "p", "p (Holm)", "users")
    rows = []
    for row in summary.rows:
        for metric, (test, adjusted) in row.tests.items():
            texts = (
                row.label,
                metric,
                _signed(test.difference, 4),
                f"{_signed(test.low, 4)} to {_signed(test.high, 4)}",
                _signed(test.effect_size, 3),
                _p(test.p),
                _p(adjusted),
                f"{test.n_users:,}",
            )
            rows.append(tuple(Entry(text) for text in texts))
    notes = (
        f"Against {summary.baseline}: paired t-test of the users' metrics, each the mean over the "
        f"seeds; Holm's correction over the table. With many users nearly every difference is "
        f"significant: d_z, the difference in standard deviations, says how large it is.",
        *_seeds(summary),
    )
    return Table(_title(summary, "paired tests"), columns, tuple(rows), notes)


def _groups(summary: Summary) -> Table:
    groups = [ALL, *GROUPS]
    columns = ["metric", "model"]
    columns += [f"{name} ({summary.group_sizes.get(name, 0):,})" for name in groups]
    rows = []
    for metric in summary.metrics:
        best = {name: _best(summary, name, metric) for name in groups}
        for row in filter(lambda row: row.seeds, summary.rows):
            scores = [row.scores[name, metric] for name in groups]
            entries = [Entry(metric), Entry(row.label)]
            entries += [
                Entry(_score(score), score.mean == best[name])
                for name, score in zip(groups, scores, strict=True)
            ]
            rows.append(tuple(entries))
    notes = (
        "In parentheses the test targets of a group. tie: the target has the time of the last "
        "interaction before it. head: the fifth of the items most frequent in training; tail: "
        "the least frequent half.",
    )
    return Table(_title(summary, "groups"), tuple(columns), tuple(rows), notes)


def _reasons(rows: Iterable[Row]) -> list[str]:
    return [f"{row.label}: {row.reason}." for row in rows if row.reason and row.seeds]


def _seeds(summary: Summary) -> list[str]:
    """Which seeds rows are compared over, where they have not the same."""
    base = next(row for row in summary.rows if row.label == summary.baseline)
    notes = []
    for row in summary.rows:
        if row.seeds and base.seeds and row.seeds != base.seeds:
            shared = ", ".join(map(str, row.shared_seeds))
            over = f"over seed {shared} alone, which both have" if shared else "not at all"
            notes.append(f"{row.label} is compared with {base.label} {over}.")
    if len({row.seeds for row in summary.rows if row.seeds}) > 1:
        notes.append("The best is looked for among the rows with the most seeds.")
    return notes


def _best(summary: Summary, group: str, metric: str) -> float | None:
    """The highest mean of the rows that have as many seeds as any, if there are two at least."""
    most = max((len(row.seeds) for row in summary.rows), default=0)
    rows = [row for row in summary.rows if row.seeds and len(row.seeds) == most]
    means = [row.scores[group, metric].mean for row in rows]
    means = [mean for mean in means if not math.isnan(mean)]
    return max(means) if len(means) > 1 else None


def _score(score: Score) -> str:
    if math.isnan(score.mean):
        return _NONE
    mean = f"{score.mean:.4f}"
    return mean if math.isnan(score.deviation) else f"{mean} ± {score.deviation:.4f}"


def _percent(share: float) -> str:
    return _NONE if math.isnan(share) else f"{100 * share:+.1f} %"


def _number(value: float, places: int) -> str:
    return _NONE if math.isnan(value) else f"{value:,.{places}f}"


def _signed(value: float, places: int) -> str:
    return _NONE if math.isnan(value) else f"{value:+.{places}f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 0 else "0"


def csv_records(summaries: Sequence[Summary]) -> list[dict[str, object]]:
    """All numbers with all their digits, one record a data set, protocol, model, group, metric."""
    return [
        _csv_record(summary, row, group, metric)
        for summary in summaries
        for row in summary.rows
        for metric in summary.metrics
        for group in (ALL, *GROUPS)
    ]


def _csv_record(summary: Summary, row: Row, group: str, metric: str) -> dict[str, object]:
    score = row.scores[group, metric]
    test, adjusted = row.tests.get(metric, (None, math.nan)) if group == ALL else (None, math.nan)
    values: dict[str, object] = {
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
        "relative_difference": row.relative.get(metric, math.nan) if group == ALL else math.nan,
        "difference": test.difference if test else math.nan,
        "interval_low": test.low if test else math.nan,
        "interval_high": test.high if test else math.nan,
        "d_z": test.effect_size if test else math.nan,
        "p": test.p if test else math.nan,
        "p_holm": adjusted,
        "seconds_per_epoch": row.seconds_per_epoch,
        "n_parameters": row.n_parameters or math.nan,
        "peak_memory_mb": row.peak_memory_mb,
        "reason": row.reason,
    }
    return {
        name: "" if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
