"""``hm4sr runs``: one line a run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(runs)


def runs(
    folder: Annotated[Path, typer.Argument(help="Where runs are.")] = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(help="folder, model, dataset, best_epoch, kept, removed or seconds."),
    ] = "folder",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List runs, their test results and how far they came.

    A line has the model, the data, the best epoch, test NDCG@10, seconds and the state.
    The runs of comparisons and searches are among them. NDCG@10 is given with the items that a user
    has seen kept among the candidates, and with them removed.
    """
    from recbole_hm4sr.run.listing import SORTABLE, list_runs

    if sort not in SORTABLE:
        raise ConfigError(f"--sort must be one of {', '.join(SORTABLE)}, got {sort!r}")
    found = list_runs(folder, sort=sort)
    if as_json:
        for run in found:
            out.print(json.dumps(run.to_plain()))
        return
    if not found:
        out.print(f"no runs in {folder}")
        return
    rows: list[tuple[str, ...]] = [
        ("run", "model", "data", "best epoch", "seen kept", "seen removed", "time", "state")
    ]
    rows += [_cells(run) for run in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if 3 <= number <= 6 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        out.print("  ".join(cells).rstrip())


def _cells(run: Any) -> tuple[str, ...]:
    from recbole_hm4sr.model.registry import display_name
    from recbole_hm4sr.page.format import NONE, duration

    return (
        run.folder,
        display_name(run.model),
        run.dataset + " (generated)" * run.generated,
        str(run.best_epoch or NONE),
        *(NONE if value is None else f"{value:.4f}" for value in (run.kept, run.removed)),
        NONE if run.seconds is None else duration(run.seconds),
        run.state,
    )
