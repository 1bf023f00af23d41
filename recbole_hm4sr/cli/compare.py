"""``hm4sr compare``: many runs on one protocol."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import OVERRIDES, out, parse_list, parse_overrides
from recbole_hm4sr.compare.claims import DEAD_AFTER

Models = Annotated[
    str | None, typer.Option(help="Models, or rows of the grid file, separated by commas.")
]
GridName = Annotated[str | None, typer.Option(help="Grid file, or its name in properties/compare.")]
ConfigFiles = Annotated[
    list[str] | None,
    typer.Option("--config_files", help="YAML files of settings, separated by spaces."),
]
Baselines = Annotated[
    str | None,
    typer.Option(
        help="Models without training whose rows stand first, separated by commas; [] for none. By "
        "default those that take seconds."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of table.tex: metrics, and seeds, trials, difference, seconds, "
        "unknown, parameters, memory. By default the metrics."
    ),
]
Worker = Annotated[
    bool,
    typer.Option(
        "--worker", help="Share the runs with others that are started like this, on any machine."
    ),
]
DeadAfter = Annotated[
    float,
    typer.Option(
        "--dead_after",
        help="Seconds without a sign of life after which another worker's run is taken over.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings=OVERRIDES)(compare)


def compare(  # noqa: PLR0913  # a flag each
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Data sets, separated by commas.")] = None,
    models: Models = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, as 1,2,5-7.")] = None,
    grid: GridName = None,
    config_files: ConfigFiles = None,
    baseline: Annotated[str | None, typer.Option(help="Row to compare the others with.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics, as NDCG@10,MRR@10.")] = None,
    columns: Columns = None,
    baselines: Baselines = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write, and to go on in.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs at once.")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed runs again.")] = False,
    worker: Worker = False,
    dead_after: DeadAfter = DEAD_AFTER,
    tables: Annotated[
        bool, typer.Option("--tables", help="Run nothing: tables and page of what is finished.")
    ] = False,
) -> None:
    """Run models × data sets × seeds, and print one table.

    All run on one protocol, each once.
    compare.html in its folder has intervals, groups, costs and links to the runs' reports. Started
    again, it goes on where it was. Any setting is a flag for all runs: --epochs=20.
    Exit code 1 says that a run has no result; its row says why.
    """
    from recbole_hm4sr.compare.command import compare_grid

    lists = {
        "datasets": dataset,
        "models": models,
        "seeds": seeds,
        "metrics": metrics,
        "columns": columns,
    }
    flags = {name: text and parse_list(text) for name, text in lists.items()}
    flags["baselines"] = None if baselines is None else parse_list(baselines.strip("[] "))
    settings = parse_overrides(context.args)
    if dead_after <= 0:
        raise ConfigError(f"--dead_after must be above 0, got {dead_after:g}")
    try:
        summaries = compare_grid(
            grid,
            {**flags, "baseline": baseline, "settings": settings},
            config_files=[part for text in config_files or [] for part in text.split()],
            out=folder,
            run=not tables,
            jobs=jobs,
            retry=retry,
            shared=worker,
            dead_after=dead_after,
            # At once, for who watches a file.
            say=partial(print, flush=True),
            bold=out.is_terminal,
        )
    except KeyboardInterrupt:
        out.print("\ninterrupted; what is finished is kept. Go on with the same command")
        raise typer.Exit(130) from None
    if not all(summary.complete for summary in summaries):
        raise typer.Exit(1)
