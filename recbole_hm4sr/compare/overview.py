"""A comparison at one glance: one short table, and which row is better in words."""

import math
from collections.abc import Sequence
from itertools import groupby

from recbole_hm4sr.compare.summary import ALL, Row, Summary
from recbole_hm4sr.compare.table import Entry, Table, highest, metric_entry, number_text, reasons
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.report.spread import SPREAD_NOTE, is_better
from recbole_hm4sr.report.standing import standing_sentences


def overview_table(summaries: Sequence[Summary]) -> Table:
    """The first metric of every row in both protocols, and what an epoch costs.

    Args:
        summaries: From :func:`recbole_hm4sr.compare.summary.summarize`; of one grid.
    """
    by_dataset = [list(own) for _, own in groupby(summaries, key=lambda one: one.dataset)]
    several = len(by_dataset) > 1
    metric = summaries[0].metrics[0]
    rows = [
        (*[Entry(own[0].dataset)] * several, *entries)
        for own in by_dataset
        for entries in _rows(own, metric)
    ]
    columns = (*["data set"] * several, "model", "seeds", *CANDIDATES.values(), "s/epoch")
    title = f"{metric} of the test targets"
    names = " and ".join(own[0].dataset for own in by_dataset[:1])
    generated = " (GENERATED data)" if any(one.generated for one in summaries) else ""
    missing = [text for own in by_dataset for text in reasons(own[0].rows)]
    standing = () if several else overview_sentences(summaries)
    return Table(
        title if several else f"{names}{generated}: {title}",
        columns,
        tuple(rows),
        (*missing, *standing, *[SPREAD_NOTE] * bool(standing)),
        n_labels=1 + several,
    )


def _rows(summaries: Sequence[Summary], metric: str) -> list[tuple[Entry, ...]]:
    firsts = [_told_apart(highest(summary, ALL, metric)) for summary in summaries]
    found: list[tuple[Entry, ...]] = []
    for own in zip(*(summary.rows for summary in summaries), strict=True):
        row = own[0]
        seeds = Entry(f"{len(row.seeds)}/{len(row.wanted_seeds)}")
        if not row.seeds:
            found.append((Entry(row.label), seeds, Entry(row.reason, spans=True)))
            continue
        scores = [metric_entry(one, metric, first) for one, first in zip(own, firsts, strict=True)]
        cost = Entry(number_text(row.seconds_per_epoch, 2))
        found.append((Entry(row.label), seeds, *scores, cost))
    return found


def _told_apart(firsts: Sequence[float]) -> Sequence[float]:
    """The highest means, if the first is better than the second by more than seeds differ."""
    return firsts if len(firsts) > 1 and is_better(firsts[0], firsts[1]) else ()


def overview_sentences(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """Which row of a data set is better in each protocol, or what is not told apart.

    Args:
        summaries: Of one data set, seen items kept and removed.
    """
    metric = summaries[0].metrics[0]
    scores = {
        summary.rank_history: {
            row.label: row.scores[ALL, metric].mean for row in most_seeds(summary)
        }
        for summary in summaries
    }
    return standing_sentences(metric, scores)


def most_seeds(summary: Summary) -> list[Row]:
    """The rows that have as many seeds as any: the others are not compared with them."""
    most = max((len(row.seeds) for row in summary.rows), default=0)
    rows = [row for row in summary.rows if row.seeds and len(row.seeds) == most]
    return [r for r in rows if not math.isnan(r.scores[ALL, summary.metrics[0]].mean)]
