"""``hm4sr check``: what a run would read, judged before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from recbole_hm4sr.cli.options import OVERRIDES, parse_overrides
from recbole_hm4sr.model.registry import DEFAULT_MODEL


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings=OVERRIDES)(check)


def check(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Name of a folder of atomic files.")] = "sports",
    model: Annotated[str, typer.Option(help="Model of the run to come.")] = DEFAULT_MODEL,
    config_files: Annotated[
        list[str] | None,
        typer.Option("--config_files", help="YAML files of settings, separated by spaces."),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write the page with plots too.")] = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="Where; check-<dataset>.html by default.")
    ] = None,
) -> None:
    """Read all that a run would read, and say what is in it.

    All problems are listed; the exit code is 2 if a run would stop. Warnings do not change it.
    Any setting is a flag, as for train: --missing_features=zero --eval_args='{...}'.
    """
    files = [part for text in config_files or [] for part in text.split()]
    overrides = parse_overrides(context.args)
    from recbole_hm4sr.run.plan import compose

    compose(model, dataset, config_files=files, overrides=overrides)
    from recbole_hm4sr.check.inspect import check_dataset
    from recbole_hm4sr.check.page import as_text, write_page

    result = check_dataset(dataset, model=model, config_files=files, overrides=overrides)
    print(as_text(result), end="")
    if html or file is not None:
        path = write_page(result, file or Path(f"check-{dataset}.html"))
        print(f"\npage: {path}")
    if result.errors:
        raise typer.Exit(2)
