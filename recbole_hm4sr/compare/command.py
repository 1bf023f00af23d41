"""Run a comparison: from flags and a grid file to the tables."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.claims import DEAD_AFTER
from recbole_hm4sr.compare.grid import Grid, find_grid, read_grid
from recbole_hm4sr.compare.overview import overview_table
from recbole_hm4sr.compare.page import write_page
from recbole_hm4sr.compare.protocol import check_grid
from recbole_hm4sr.compare.render import as_text, write_tables
from recbole_hm4sr.compare.results import Outcome, count_others, read_outcomes
from recbole_hm4sr.compare.runner import run_grid
from recbole_hm4sr.compare.summary import Summary, summarize
from recbole_hm4sr.compare.time_left import TimeLeft
from recbole_hm4sr.model.baselines import DEFAULT_BASELINES


def compare_grid(  # noqa: PLR0913  # a flag each
    grid_name: str | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    config_files: Iterable[str | Path] = (),
    out: Path | None = None,
    run: bool = True,
    jobs: int = 1,
    retry: bool = False,
    shared: bool = False,
    dead_after: float = DEAD_AFTER,
    say: Callable[[str], None] = lambda _: None,
    bold: bool = False,
) -> list[Summary]:
    """Run what a grid lacks, write its tables and its page, and say one short table.

    Args:
        grid_name: Grid file, or the name of one in ``properties/compare``.
        flags: Keys of a grid file; they win over it.
        config_files: YAML files of settings of all runs, later ones win; the grid wins over them.
        out: Folder of the comparison; by default ``runs/compare-<name of the grid or data sets>``,
            so that the same command goes on in the same folder.
        run: Whether to run what the grid lacks; otherwise the tables are of what is finished.
        jobs: Runs at once.
        retry: Whether to try failed cells again.
        shared: Whether other processes run cells of the same folder.
        dead_after: Seconds after which a cell is taken over whose process gives no sign of life.
        say: Takes each line of progress, with the time left, and a short table.
        bold: Whether the table may use a terminal's codes for bold.

    Returns:
        The numbers of the tables.

    Raises:
        ConfigError: If the grid is wrong; before anything runs.
        DataError: If files cannot be read or written.
    """
    path = find_grid(grid_name) if grid_name is not None else None
    grid = read_grid(path, flags, config_files, DEFAULT_BASELINES)
    folder = out or Path("runs") / f"compare-{path.stem if path else '-'.join(grid.datasets)}"
    check_grid(grid)
    say(f"{_counted(grid)}; folder: {folder}")

    follow: list[TimeLeft] = []

    def on_cell(event: str, outcome: Outcome, number: int, count: int) -> None:
        follow[0].follow(event, outcome, number - 1)
        left = follow[0].words() if event in ("done", "failed") else ""
        say(f"[{number}/{count}] {_what_happened(event, outcome, grid)}{left}")

    def on_start(outcomes: list[Outcome]) -> None:
        follow.append(TimeLeft(outcomes, jobs, retry=retry))
        n_others = count_others(outcomes, folder)
        if n_others:
            say(
                f"{n_others} of these runs are finished there with other settings, data or "
                f"defaults; those stay as they are, and these have folders of their own"
            )

    if run:
        outcomes = run_grid(
            grid,
            folder,
            jobs=jobs,
            retry=retry,
            shared=shared,
            dead_after=dead_after,
            on_start=on_start,
            on_cell=on_cell,
        )
    else:
        outcomes = read_outcomes(grid, folder)
        on_start(outcomes)
        if not any(outcome.done for outcome in outcomes):
            raise ConfigError(f"{folder} must hold a result of this grid for --tables, got none")
    return _tables(grid, outcomes, folder, say, bold=bold)


def _counted(grid: Grid) -> str:
    """How many runs there are, and of what."""
    n_added = sum(spec.added for spec in grid.models)
    n_models = len(grid.models) - n_added
    rows = f"{n_models} model{'s' * (n_models != 1)}" + f", {n_added} without training" * (
        n_added > 0
    )
    return f"{len(grid.cells())} runs ({rows})"


def _tables(
    grid: Grid, outcomes: list[Outcome], folder: Path, say: Callable[[str], None], *, bold: bool
) -> list[Summary]:
    """Write tables and page, then say one: a pager that is left cuts short what is said."""
    summaries = summarize(grid, outcomes)
    write_tables(summaries, folder)
    page = write_page(summaries, outcomes, folder)
    say(f"\n{as_text(overview_table(summaries), bold=bold)}")
    say(f"intervals, groups, costs and the runs' reports: {page}")
    say(f"all tables as text, Markdown, CSV and LaTeX: {folder / 'table.*'}")
    return summaries


def _what_happened(event: str, outcome: Outcome, grid: Grid) -> str:
    record, cell = outcome.record, outcome.cell
    name = f"{cell.dataset}, {cell.label}, seed {cell.seed}"
    if record is None or event == "started":
        return f"{name}: {event}"
    if not outcome.done:
        again = "; --retry tries it again" if event == "skipped" else ""
        return f"{name}: failed: {record['reason']}{again}"
    metric = grid.metrics[0]
    value = record["valid"].get(metric.lower())
    score = f", validation {metric} {value:.4f}" if value is not None else ""
    return f"{name}: {'finished before' if event == 'skipped' else 'done'}{score}"
