"""A comparison as one HTML page: rows with intervals, groups, costs, and links to the runs."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.compare.cells import slug
from recbole_hm4sr.compare.group_charts import group_charts
from recbole_hm4sr.compare.overview import overview_sentences
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.row_charts import difference_chart, score_chart
from recbole_hm4sr.compare.runs_table import cost_section, runs_section
from recbole_hm4sr.compare.summary import Summary
from recbole_hm4sr.compare.table import Table as ResultTable
from recbole_hm4sr.compare.table import build_tables
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.page.section import Cell, Section, Table
from recbole_hm4sr.page.shell import render
from recbole_hm4sr.report.spread import SPREAD_NOTE

PAGE = "compare.html"
_LINKS = {"include": "Seen kept", "exclude": "Seen removed"}


def write_page(summaries: Sequence[Summary], outcomes: Sequence[Outcome], out: Path) -> Path:
    """Write ``compare.html`` of what is finished.

    Args:
        summaries: The numbers of the tables.
        outcomes: What is known of the cells.
        out: Folder of the comparison, which holds those of the runs.

    Returns:
        The page.

    Raises:
        WriteError: If it cannot be written.
    """
    by_dataset = {
        dataset: list(own) for dataset, own in groupby(summaries, key=lambda one: one.dataset)
    }
    sections = []
    for dataset, own in by_dataset.items():
        prefix = f"{dataset}: " if len(by_dataset) > 1 else ""
        said: set[str] = set()
        sections += [_results(summary, prefix, said) for summary in own]
        sections += [
            *_groups(own, prefix),
            cost_section(own[0], _anchor("costs", dataset), prefix),
        ]
    page = render(
        "compare",
        "compare.html",
        title=f"Comparison on {' and '.join(by_dataset)}",
        n_runs=len(outcomes),
        n_done=sum(outcome.done for outcome in outcomes),
        generated=any(summary.generated for summary in summaries),
        verdict=_verdict(by_dataset),
        spread_note=SPREAD_NOTE,
        sections=[*sections, runs_section(outcomes, out)],
    )
    write_text(out / PAGE, page)
    return out / PAGE


def _verdict(by_dataset: dict[str, list[Summary]]) -> tuple[str, ...]:
    several = len(by_dataset) > 1
    return tuple(
        f"{dataset}: {sentence}" if several else sentence
        for dataset, own in by_dataset.items()
        for sentence in overview_sentences(own)
    )


def _anchor(what: str, dataset: str) -> str:
    return f"{what}-{slug(dataset)}"


def _results(summary: Summary, prefix: str, said: set[str]) -> Section:
    """All rows with their intervals; the details of tests and of a cut are folded.

    Args:
        summary: Of one protocol.
        prefix: What stands before its title.
        said: Notes that stand in an earlier section; those of this one are added.
    """
    tables = [table for table in build_tables(summary) if table.kind != "groups"]
    charts = (score_chart(summary), difference_chart(summary))
    notes = [f"Bold: the best of the {tables[0].best_of}."]
    notes += [note for table in tables for note in table.notes]
    new = [note for note in dict.fromkeys(notes) if note not in said]
    said.update(new)
    return Section(
        _anchor(f"results-{summary.rank_history}", summary.dataset),
        f"{prefix}{CANDIDATES[summary.rank_history].capitalize()}",
        f"{prefix}{_LINKS[summary.rank_history]}",
        charts=tuple(chart for chart in charts if chart is not None),
        tables=tuple(page_table(table, folded=table.kind != "results") for table in tables),
        notes=tuple(new),
    )


def _groups(summaries: Sequence[Summary], prefix: str) -> list[Section]:
    """Groups of test targets; charts by the protocol that has chosen the epochs."""
    chosen = next((s for s in summaries if s.rank_history == s.chosen_by), summaries[0])
    tables = [build_tables(summary)[-1] for summary in summaries]
    charts, words = group_charts(chosen)
    if not charts:
        return []
    return [
        Section(
            _anchor("groups", chosen.dataset),
            f"{prefix}For whom they work",
            f"{prefix}Groups",
            words,
            charts,
            tuple(page_table(table, folded=True) for table in tables),
            tables[0].notes,
        )
    ]


def page_table(table: ResultTable, *, folded: bool = False) -> Table:
    """A table of results as one of a page: the best in bold, a reason over all columns left."""
    rows = tuple(
        tuple(
            Cell(
                entry.text,
                best=entry.best,
                span=len(table.columns) - position if entry.spans else 1,
            )
            for position, entry in enumerate(row)
        )
        for row in table.rows
    )
    return Table(table.columns, rows, caption=table.title, folded=folded)
