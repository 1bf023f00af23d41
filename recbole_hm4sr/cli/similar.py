"""``hm4sr similar``: more like this."""

from pathlib import Path
from typing import Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli import answers, rules
from recbole_hm4sr.cli.options import names_of
from recbole_hm4sr.cli.preflight import check_run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(similar)


def similar(  # noqa: PLR0913  # an option each
    run: Annotated[Path, typer.Option("--run", help="Folder of a run.")],
    items: Annotated[str, typer.Option(help="Items, as B001,B007; or @FILE, one a line.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each.")] = 10,
    by: Annotated[
        str,
        typer.Option(help="model: its rows of items; features; or one modality alone, as text."),
    ] = "model",
    file: answers.Out = None,
    printed: answers.Format = "csv",
    candidates: rules.Candidates = None,
    exclude_items: rules.ExcludeItems = None,
    where: rules.Where = None,
    max_per: rules.MaxPer = None,
    diversity: rules.Diversity = 0.0,
    show: rules.Show = "",
) -> None:
    """List the items that are most like some items.

    They are compared by the cosine of their rows; no item is like itself.
    The rows are the model's (what it learned of who takes what, and of features) or, by=text, those
    of features alone. Items that are not known are named, and have no answer.
    """
    form = answers.form_of(file, printed)
    asked = rules.read_items(items, "items")
    if not asked:
        raise ConfigError(f"--items must name at least one item, got {items!r}")
    check_run(run, needs_data=False)
    chosen = rules.read_rules(candidates, exclude_items, where, max_per, diversity)
    from recbole_hm4sr.serve.recommend import Recommender

    recommender = Recommender.load(run)
    found = recommender.similar(asked, k, by=by, show=names_of(show), **chosen)
    empty = len(found.without_answer)
    note = f", {empty:,} of them without an answer" if empty else ""
    answers.give(
        form,
        lambda: found.table(recommender.columns.item),
        found.records,
        f"{len(asked):,} items{note}",
    )
