"""The tables of a comparison: results, paired tests, groups; one set per data set and protocol."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from recbole_hm4sr.compare.summary import ALL, Row, Score, Summary
from recbole_hm4sr.evaluate.candidates import CANDIDATES, LISTS_NOTE
from recbole_hm4sr.evaluate.groups import (
    CUT_GROUPS,
    GROUP_NOTE,
    SMALL_WORDS,
    one_moment_notes,
    telling,
)

_NONE = "-"
_SIGNIFICANT = 0.05
_TEST = "paired t-test over the users, Holm's correction"
_UNKNOWN = (
    "Unknown: test targets of which a model that is fitted once knows nothing; their score is 0, "
    "and they rank by popularity."
)
_LONGEST_BASELINE = 16  # letters in a heading
SMALL_MARK = "†"
# What a results table can show of a row besides its metrics; "difference" is beside each.
_HEADINGS = {
    "seeds": "seeds",
    "trials": "trials",
    "difference": "difference",
    "seconds": "s/epoch",
    "parameters": "parameters",
    "memory": "peak MiB",
    "unknown": "unknown",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One field of a table.

    Attributes:
        text: What it says.
        best: Whether it is the best of those it is compared with: of its column, or of its row.
        second: Whether it is the second best of at least three.
        mark: Whether it differs significantly from the baseline.
        spans: Whether it takes all columns that are left, to say why a row has no result.
    """

    text: str
    best: bool = False
    second: bool = False
    mark: bool = False
    spans: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table ready to be written down.

    Attributes:
        title: What it shows, under which protocol.
        columns: Headings.
        rows: As many entries each as there are headings, unless the last one spans the rest.
        notes: Sentences below it.
        kind: ``results``, ``tests``, ``cut``, ``lists`` or ``groups``.
        n_labels: How many of the first columns say what a row is.
        mark_means: What a marked entry means, in a sentence.
        best_of: What the best is the best of, as ``column`` or ``row``.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...]
    kind: str = "results"
    n_labels: int = 1
    mark_means: str = ""
    best_of: str = "column"


def build_tables(summary: Summary) -> list[Table]:
    """All tables of one data set, with seen items kept among the candidates or removed."""
    tables = [_results(summary, _all_columns(summary), "results")]
    if any(row.tests for row in summary.rows):
        tables.append(_tests(summary))
    if summary.without_history is not None:
        tables.append(_cut(summary))
    if any(row.lists for row in summary.rows):
        tables.append(_lists(summary))
    return [*tables, _groups(summary)]


def main_table(summary: Summary) -> Table:
    """The results as a paper shows them: the columns asked for, by default the metrics."""
    return _results(summary, summary.columns or summary.metrics, "results")


def details_table(summary: Summary) -> Table:
    """The results with all columns."""
    return _results(summary, _all_columns(summary), "details")


def _all_columns(summary: Summary) -> tuple[str, ...]:
    """Every column, but for those in which no row has anything."""
    searched = any(row.n_trials for row in summary.rows)
    before = ("seeds", *["trials"] * searched)
    fitted = any(not math.isnan(row.zero_score_share) for row in summary.rows)
    after = (*["unknown"] * fitted, "seconds", "parameters", "memory")
    return (*before, *summary.metrics, "difference", *after)


def _title(summary: Summary, what: str) -> str:
    generated = " (GENERATED data)" if summary.generated else ""
    return (
        f"{summary.dataset}{generated}: {what}; {CANDIDATES[summary.rank_history]}, "
        f"tie_order: {summary.tie_order}"
    )


def _results(summary: Summary, columns: Sequence[str], what: str) -> Table:
    headings = ["model"]
    for column in columns:
        if column in summary.metrics:
            headings += [column, _difference(summary)][: 1 + ("difference" in columns)]
        elif column != "difference":
            headings.append(_HEADINGS[column])
    numbers = ", ".join(map(str, summary.seeds))
    several = len(summary.seeds) > 1
    over = f"Mean ± standard deviation over seeds {numbers}" if several else f"Seed {numbers}"
    items = f"all {summary.n_items:,} items" if summary.n_items else "all items"
    notes = (
        f"{over}; {summary.group_sizes[ALL]:,} test targets, one ranking of {items} each; best "
        f"epochs chosen on validation, {CANDIDATES[summary.chosen_by]}.",
        *[f"Differences are relative to {summary.baseline}."]
        * (_HEADINGS["difference"] in headings),
        *[_UNKNOWN] * (_HEADINGS["unknown"] in headings),
        *reasons(summary.rows),
        *_seeds(summary),
        *summary.notes,
    )
    rows = _result_rows(summary, columns)
    means = f"differs from {summary.baseline} at p < {_SIGNIFICANT} ({_TEST})."
    return Table(_title(summary, what), tuple(headings), rows, notes, mark_means=means)


def _difference(summary: Summary) -> str:
    """Heading of a difference to the baseline: its label, if that is short."""
    short = len(summary.baseline) <= _LONGEST_BASELINE
    return f"vs {summary.baseline}" if short else _HEADINGS["difference"]


def _result_rows(summary: Summary, columns: Sequence[str]) -> tuple[tuple[Entry, ...], ...]:
    firsts = {metric: highest(summary, ALL, metric) for metric in summary.metrics}
    rows = []
    for row in summary.rows:
        entries = [Entry(row.label)]
        for column in columns:
            if not row.seeds and column not in ("seeds", "trials"):
                entries.append(Entry(row.reason, spans=True))
                break
            if column in summary.metrics:
                entries.append(metric_entry(row, column, firsts[column]))
                relative = _percent(row.relative.get(column, math.nan))
                entries += [Entry(relative)] * ("difference" in columns)
            elif column != "difference":
                entries.append(Entry(_fact(summary, row, column)))
        rows.append(tuple(entries))
    return tuple(rows)


def metric_entry(row: Row, metric: str, firsts: Sequence[float]) -> Entry:
    """A metric of a row.

    Args:
        row: The row.
        metric: As ``NDCG@10``.
        firsts: From :func:`highest`.
    """
    score = row.scores[ALL, metric]
    _, adjusted = row.tests.get(metric, (None, math.nan))
    return Entry(
        _score(score),
        best=score.mean in firsts[:1],
        second=len(firsts) > 2 and score.mean == firsts[1],
        mark=adjusted < _SIGNIFICANT,
    )


def _fact(summary: Summary, row: Row, column: str) -> str:
    if column == "seeds":
        return f"{len(row.seeds)}/{len(row.wanted_seeds)}"
    if column == "trials":
        elsewhere = row.searched_on not in ("", summary.dataset)
        return f"{row.n_trials} on {row.searched_on}" if elsewhere else str(row.n_trials)
    if column == "unknown":
        share = row.zero_score_share
        return _NONE if math.isnan(share) else f"{100 * share:.1f} %"
    if column == "seconds":
        return number_text(row.seconds_per_epoch, 2)
    if column == "parameters":
        return f"{row.n_parameters:,}" if row.n_parameters else _NONE
    return number_text(row.peak_memory_mb, 0)


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
    title = _title(summary, "paired tests")
    return Table(title, columns, tuple(rows), notes, kind="tests", n_labels=2)


def _cut(summary: Summary) -> Table:
    """The targets by what was known of them at the moment at which training ends."""
    groups = (ALL, *CUT_GROUPS)
    marks = [f" {SMALL_MARK}" * (group in summary.small_groups) for group in groups]
    names = ("all targets", "known at the cut", "5 or more before the cut", "new at the cut")
    headings = tuple(
        f"{name}{mark} ({summary.group_sizes[group]:,})"
        for name, mark, group in zip(names, marks, groups, strict=True)
    )
    rows = tuple(
        (Entry(metric), Entry(row.label), *_cut_entries(summary, row, metric, groups))
        for metric in summary.metrics
        for row in summary.rows
        if row.seeds
    )
    notes = (
        "Known at the cut: in the training part. All groups are ranked among the same items. In "
        "parentheses, targets.",
        *one_moment_notes(summary.without_history or 0),
        *[f"{SMALL_MARK}: {SMALL_WORDS}."] * any(marks),
    )
    title = _title(summary, "targets known at the cut")
    return Table(
        title, ("metric", "model", *headings), rows, notes, kind="cut", n_labels=2,
        best_of="metric's column",
    )  # fmt: skip


def _cut_entries(
    summary: Summary, row: Row, metric: str, groups: Sequence[str]
) -> tuple[Entry, ...]:
    scores = [row.scores[group, metric] for group in groups]
    return tuple(
        Entry(_score(score), best=score.mean in highest(summary, group, metric)[:1])
        for group, score in zip(groups, scores, strict=True)
    )


def _lists(summary: Summary) -> Table:
    """What lists are like beyond accuracy; more of it is not always better, so none is the best."""
    names = list(dict.fromkeys(name for row in summary.rows for name in row.lists))
    rows = tuple(
        (
            Entry(row.label),
            *(Entry(_score(row.lists[name]) if name in row.lists else _NONE) for name in names),
        )
        for row in summary.rows
        if row.seeds
    )
    return Table(_title(summary, "lists"), ("model", *names), rows, (LISTS_NOTE,), kind="lists")


def _groups(summary: Summary) -> Table:
    shown = [row for row in summary.rows if row.seeds]
    columns = ("metric", "group", "targets", *(row.label for row in shown))
    groups = [ALL, *_telling_groups(summary)]
    rows = tuple(
        _group_row(summary, shown, metric, group) for metric in summary.metrics for group in groups
    )
    small = any(group in summary.small_groups for group in groups)
    notes = (*[f"{SMALL_MARK}: {SMALL_WORDS}."] * small, GROUP_NOTE)
    title = _title(summary, "groups")
    return Table(title, columns, rows, notes, kind="groups", n_labels=2, best_of="row")


def _telling_groups(summary: Summary) -> list[str]:
    """Names of the groups of test targets, without groupings that put all into one group."""
    return [
        grouping.names[number]
        for grouping, present in telling(summary.group_sizes)
        for number in present
    ]


def _group_row(
    summary: Summary, shown: Sequence[Row], metric: str, group: str
) -> tuple[Entry, ...]:
    """A metric of one group by model; the mark of a small group is in its name."""
    best = highest(summary, group, metric)[:1]
    scores = [row.scores[group, metric] for row in shown]
    name = f"{group} {SMALL_MARK}" if group in summary.small_groups else group
    return (
        Entry(metric),
        Entry(name),
        Entry(f"{summary.group_sizes[group]:,}"),
        *(Entry(_score(score), best=score.mean in best) for score in scores),
    )


def reasons(rows: Iterable[Row]) -> list[str]:
    """Why rows that have a result lack some of their seeds, a sentence each."""
    return [f"{row.label}: {row.reason}." for row in rows if row.reason and row.seeds]


def _seeds(summary: Summary) -> list[str]:
    """Which seeds rows are compared over, where they have not the same."""
    base = next(row for row in summary.rows if row.label == summary.baseline)
    finished = [row for row in summary.rows if row.seeds]
    if len({row.seeds for row in finished}) < 2:
        return []
    others = [row for row in finished if base.seeds not in ((), row.seeds)]
    return [
        *(f"{row.label} is compared with {base.label} {_over(row)}." for row in others),
        "The best is looked for among the rows with the most seeds.",
    ]


def _over(row: Row) -> str:
    shared = ", ".join(map(str, row.shared_seeds))
    return f"over seed {shared} alone, which both have" if shared else "not at all"


def highest(summary: Summary, group: str, metric: str) -> list[float]:
    """The means of the rows that have as many seeds as any, from the highest; [] for one row."""
    most = max((len(row.seeds) for row in summary.rows), default=0)
    rows = [row for row in summary.rows if row.seeds and len(row.seeds) == most]
    means = [row.scores[group, metric].mean for row in rows]
    means = [mean for mean in means if not math.isnan(mean)]
    return sorted(set(means), reverse=True) if len(means) > 1 else []


def _score(score: Score) -> str:
    if math.isnan(score.mean):
        return _NONE
    mean = f"{score.mean:.4f}"
    return mean if math.isnan(score.deviation) else f"{mean} ± {score.deviation:.4f}"


def _percent(share: float) -> str:
    return _NONE if math.isnan(share) else f"{100 * share:+.1f} %"


def number_text(value: float, places: int) -> str:
    """A number with so many decimals; a dash for none."""
    return _NONE if math.isnan(value) else f"{value:,.{places}f}"


def _signed(value: float, places: int) -> str:
    return _NONE if math.isnan(value) else f"{value:+.{places}f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 0 else "0"
