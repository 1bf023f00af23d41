"""``hm4sr tune``: a search for settings."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recbole_hm4sr.cli.options import OVERRIDES, out, parse_overrides
from recbole_hm4sr.model.registry import DEFAULT_MODEL


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings=OVERRIDES)(tune)


def tune(  # noqa: PLR0913  # a flag each
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Any name that hm4sr models lists.")] = DEFAULT_MODEL,
    dataset: Annotated[str, typer.Option(help="Name of a folder of atomic files.")] = "sports",
    params: Annotated[
        str | None,
        typer.Option(help="Search space; by default the model's in properties/tune."),
    ] = None,
    config_files: Annotated[
        list[str] | None,
        typer.Option("--config_files", help="YAML files of settings, separated by spaces."),
    ] = None,
    algo: Annotated[str, typer.Option(help="exhaustive, random or bayes.")] = "bayes",
    trials: Annotated[
        int | None, typer.Option(help="Number of all trials; by default all combinations, or 30.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="hyperopt, or optuna: pruning, several processes and machines.")
    ] = "hyperopt",
    early_stop: Annotated[
        int | None, typer.Option("--early_stop", help="End after so many trials without a better.")
    ] = None,
    prune: Annotated[
        bool | None, typer.Option("--prune/--no-prune", help="End hopeless trials early (optuna).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write, and to go on in.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed trials again.")] = False,
) -> None:
    """Search for the settings with the best validation score.

    They are written to best.yaml.
    Started again, it goes on where it was. Nothing is tested: test the best settings once, by
    hm4sr train --config_files=<folder>/best.yaml. Any setting is a flag: --epochs=9.
    """
    from recbole_hm4sr.tune.command import Plan, tune_model

    plan: dict[str, Any] = {
        "engine": engine,
        "algorithm": algo,
        "n_trials": trials,
        "early_stop": early_stop,
        "prune": prune,
        "retry": retry,
    }
    try:
        tuned = tune_model(
            model,
            dataset,
            params=params,
            config_files=[part for text in config_files or [] for part in text.split()],
            overrides=parse_overrides(context.args),
            plan=Plan(**plan),
            out=folder,
            say=lambda line: out.print(line, markup=False),
        )
    except KeyboardInterrupt:
        out.print("\ninterrupted; what is finished is kept. Go on with the same command")
        raise typer.Exit(130) from None
    _print_search(tuned)
    if tuned.best is None:
        raise typer.Exit(2)


def _print_search(tuned: Any) -> None:
    """The table of the trials, best first, and what the search came to."""
    from recbole_hm4sr.tune.command import summary_of, table_of

    titles, rows = table_of(tuned)
    table = Table(*titles)
    for row in rows:
        table.add_row(*row)
    out.print(table)
    for line in summary_of(tuned):
        out.print(line, markup=False)
