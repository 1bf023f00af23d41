"""One run as one HTML page that opens without a network.

The page is made from the files of the run's folder alone, so it can be made again at any time. All
text is escaped, and the page's own rules (its content security policy) let no other script run than
the one that belongs to it.
"""

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.report.case_view import view_cases
from recbole_hm4sr.report.format import CANDIDATES, Section
from recbole_hm4sr.report.model_sections import (
    interactive_section,
    parts_section,
    permutation_section,
    temporal_section,
)
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
    page = render(
        "page.html",
        title=f"{metrics['model']} on {metrics['dataset']}",
        run=run,
        tiles=_tiles(run),
        sections=_sections(run),
        cases=view_cases(facts, metrics["rank_history"]) if facts else [],
        facts=facts,
        candidates=CANDIDATES[metrics["rank_history"]],
    )
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _sections(run: RunFiles) -> list[Section]:
    found: list[Section | None] = [
        run_section(run),
        metrics_section(run),
        training_section(run),
        time_section(run),
        groups_section(run),
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


def render(template: str, **values: Any) -> str:
    """A page of a template, with the style and the script of all pages inside it."""
    environment = Environment(
        loader=PackageLoader("recbole_hm4sr", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("recbole_hm4sr.report")
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("style.css", "script.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    page = environment.get_template(template)
    return page.render(style=style, script=script, script_digest=digest, **values)
