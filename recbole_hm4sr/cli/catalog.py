"""``hm4sr models`` and ``hm4sr settings``: what there is, without importing torch."""

import json
import textwrap
from typing import Annotated, Any

import typer

from recbole_hm4sr.cli.options import out

_WIDTH = 100


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(models)
    app.command()(settings)


def models() -> None:
    """List the models that can run.

    A line has the name, where it comes from, what it reads and its paper.
    """
    from recbole_hm4sr.model.cards import model_cards

    rows = [("model", "from", "reads", "paper")]
    rows += [(it.name, it.origin, ", ".join(it.reads), it.about) for it in model_cards()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        out.print("  ".join([*cells, row[3]]).rstrip())


def settings(
    model: Annotated[str, typer.Argument(help="Name of a model; hm4sr models lists them.")],
) -> None:
    """List every setting of a model, of data sets and of runs.

    A line has the default, the range and the meaning. Each is a flag of train, compare, tune and
    check, and a line of a YAML file. The defaults are those of this package for this model; a data
    set may have its own.
    """
    from recbole_hm4sr.config.catalog import settings_of
    from recbole_hm4sr.model.registry import find_model

    for group, lines in settings_of(model, find_model(model).settings_class).items():
        if not lines:
            continue
        out.print(f"{group}\n")
        for line in lines:
            kind = f"  ({line.kind})" if line.kind else ""
            out.print(f"  {line.name}: {_text(line.value)}{kind}")
            for part in textwrap.wrap(line.sentence, _WIDTH - 6):
                out.print(f"      {part}")
        out.print()


def _text(value: Any) -> str:
    """A value as YAML takes it, on one line."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)
