"""One run as one HTML page.

The page is made from the files of the run's folder alone, so it can be made again at any time.
"""

from pathlib import Path

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.base.shown_paths import shortened
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.page.section import Section
from recbole_hm4sr.page.shell import render
from recbole_hm4sr.report.case_view import view_cases
from recbole_hm4sr.report.components import components_of
from recbole_hm4sr.report.expert_sections import interactive_section, temporal_section
from recbole_hm4sr.report.lists import lists_section
from recbole_hm4sr.report.model_sections import parts_section, permutation_section
from recbole_hm4sr.report.run_costs import whole_run_text
from recbole_hm4sr.report.run_files import RunFiles, read_run
from recbole_hm4sr.report.sections import (
    groups_section,
    metric_text,
    metric_title,
    metrics_section,
    run_section,
    time_section,
    training_section,
)
from recbole_hm4sr.report.spread import SPREAD_NOTE
from recbole_hm4sr.report.verdict import verdict
from recbole_hm4sr.report.verdict_numbers import numbers_of
from recbole_hm4sr.report.views import pictured, views_section, weeks_section

N_OPEN = 2  # cases that are shown before a reader opens more


def write_report(run_dir: Path) -> Path:
    """Make ``report.html`` of a finished run.

    Args:
        run_dir: Folder of the run.

    Returns:
        The page.

    Raises:
        DataError: If the run has not finished, or its folder cannot be read or written.
    """
    run = read_run(run_dir)
    metrics, facts = run.metrics, run.facts
    drawn = components_of(facts) if facts else None
    page = render(
        "report",
        "run.html",
        title=f"{run.model} on {metrics['dataset']}",
        run=run,
        settings_text=shortened(run.settings_text),
        tiles=_tiles(run),
        sections=_sections(run),
        verdict=verdict(numbers_of(run)),
        spread_note=SPREAD_NOTE,
        cases=view_cases(facts, metrics["rank_history"], drawn) if facts and drawn else [],
        n_open=N_OPEN,
        components=drawn.names if drawn else (),
        facts=facts,
        candidates=CANDIDATES[metrics["rank_history"]],
        pictured=pictured(run),
    )
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _sections(run: RunFiles) -> list[Section]:
    found: list[Section | None] = [
        run_section(run),
        metrics_section(run),
        views_section(run),
        lists_section(run),
        training_section(run),
        time_section(run),
        groups_section(run),
        weeks_section({run.model: run}),
    ]
    if run.facts is not None:
        found += [
            permutation_section(run.facts, run.metrics["rank_history"]),
            parts_section(run.facts),
            temporal_section(run.facts),
            interactive_section(run.facts),
        ]
    return [section for section in found if section is not None]


def _tiles(run: RunFiles) -> list[tuple[str, str]]:
    """The few numbers that one looks for first."""
    chosen = run.metrics["rank_history"]
    history = chosen if run.metrics[f"test_{chosen}"] else "include"
    test, words = run.metrics[f"test_{history}"], CANDIDATES[history]
    names = [name for name in test if name.endswith(f"@{run.cut}")][:3]
    tiles = [(f"test {metric_title(name)}, {words}", metric_text(test[name])) for name in names]
    return [
        *tiles,
        ("best epoch", f"{run.metrics['best_epoch']} of {run.metrics['epochs']}"),
        ("whole run", whole_run_text(run.metrics)),
    ]
