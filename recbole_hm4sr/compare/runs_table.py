"""What the rows of a comparison cost, and its runs with links to their reports."""

import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.summary import Summary
from recbole_hm4sr.page.bar_chart import horizontal_bars
from recbole_hm4sr.page.format import NONE, duration
from recbole_hm4sr.page.section import Cell, Section, Table
from recbole_hm4sr.report.sections import metric_text


def cost_section(summary: Summary, anchor: str, prefix: str) -> Section:
    """Seconds per epoch, parameters and memory of every row; they are the same in both protocols.

    Args:
        summary: Of the data set.
        anchor: Name of the section in addresses.
        prefix: What stands before its title.
    """
    done = [row for row in summary.rows if row.seeds]
    title, link = f"{prefix}Costs", f"{prefix}Costs"
    if not done:
        return Section(anchor, title, link, ("No run has finished.",))
    chart = horizontal_bars(
        "Training time per epoch",
        [(row.label, [row.seconds_per_epoch], duration(row.seconds_per_epoch)) for row in done],
        x_title="seconds",
        explained="What an epoch of training costs, mean over the seeds; a short bar is cheap.",
    )
    rows = tuple(
        (
            row.label,
            f"{row.seconds_per_epoch:,.2f}",
            f"{row.n_parameters:,}" if row.n_parameters else NONE,
            NONE if math.isnan(row.peak_memory_mb) else f"{row.peak_memory_mb:,.0f}",
        )
        for row in done
    )
    table = Table(("row", "s/epoch", "parameters", "peak MiB"), rows)
    return Section(anchor, title, link, (), (chart,), (table,))


def runs_section(outcomes: Sequence[Outcome], out: Path) -> Section:
    """Every run with a link to its report.

    Args:
        outcomes: What is known of the cells.
        out: Folder of the comparison, where the page is.
    """
    several = len({outcome.cell.dataset for outcome in outcomes}) > 1
    rows = tuple(_run_row(outcome, out, several=several) for outcome in outcomes)
    columns = ("run", "best epoch", "validation", "whole run", "peak MiB")
    words = "A run leads to its report: losses, groups, modalities, experts and single users."
    return Section("runs", "The runs", "Runs", (words,), (), (Table(columns, rows),))


def _run_row(outcome: Outcome, out: Path, *, several: bool) -> tuple[str | Cell, ...]:
    cell, record = outcome.cell, outcome.record
    name = f"{cell.label}, seed {cell.seed}"
    if several:
        name = f"{cell.dataset}, {name}"
    if record is None or not outcome.done:
        return name, Cell(record["reason"] if record else "not run yet", span=4)
    report = outcome.folder / "report.html"
    link = quote(report.relative_to(out).as_posix()) if report.is_file() else ""
    seconds, memory = record.get("seconds"), record.get("peak_memory_mb")
    return (
        Cell(name, link=link),
        f"{record['best_epoch']} of {record['epochs']}",
        metric_text(_validation(record["valid"])),
        NONE if seconds is None else duration(seconds),
        NONE if memory is None else f"{memory:,}",
    )


def _validation(values: dict[str, float]) -> float | None:
    """NDCG@10 on the validation part, else the first metric."""
    return values.get("ndcg@10", next(iter(values.values()), None))
