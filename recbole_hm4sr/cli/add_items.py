"""``hm4sr add-items``: new items for a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import out
from recbole_hm4sr.cli.preflight import check_run, require_file

_NAMED = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("add-items")(add_items)


def add_items(
    run: Annotated[Path, typer.Option("--run", help="Folder of a run.")],
    items: Annotated[
        Path, typer.Option(help=".item file with a line for each new item, columns as the data's.")
    ],
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="modality=FILE.npz, from the encoder of the first items; once for each modality. "
            "Words are encoded by the encoder that the run has kept."
        ),
    ] = None,
) -> None:
    """Take new items into a run, without training.

    They are scored by their features. They are recommended and known in histories from then on; in
    a memory they are neighbours of the items that are alike, and have events from their first sale
    on (hm4sr refresh). What was fitted on the first items is applied and not fitted again. Items
    that the run has features of are left alone. A service that runs goes on with what it has
    opened.
    """
    check_run(run, needs_data=False)
    require_file(items)
    files = _feature_files(features or [])
    from recbole_hm4sr.serve import add_items as adding

    done = adding.add_items(run, items, files)
    out.print(f"{done.n_added:,} items added, {done.n_known:,} were there")
    for index in done.indexes:
        out.print(f"index written anew: {index}")
    if done.new_categories:
        named = ", ".join(map(repr, done.new_categories[:_NAMED]))
        out.print(
            f"names of categories that training did not know: {len(done.new_categories):,}, e.g. "
            f"{named}"
        )


def _feature_files(features: list[str]) -> dict[str, Path]:
    """Feature files by modality."""
    files = {}
    for text in features:
        name, _, path = text.partition("=")
        if not (name and path):
            raise ConfigError(f"--features must be modality=FILE, got {text!r}")
        require_file(Path(path))
        files[name] = Path(path)
    return files
