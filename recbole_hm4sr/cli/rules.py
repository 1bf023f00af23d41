"""The flags of rules on items and lists, which several commands have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.text_files import read_text
from recbole_hm4sr.cli.options import names_of

Candidates = Annotated[
    Path | None, typer.Option(help="File with the items to choose from, one a line.")
]
ExcludeItems = Annotated[
    Path | None,
    typer.Option("--exclude_items", help="File with items to leave out, one a line."),
]
Where = Annotated[
    str | None,
    typer.Option(help="""Items to choose from, as "price < 50 and category = 'Shoes'"."""),
]
MaxPer = Annotated[
    list[str] | None,
    typer.Option(
        "--max_per",
        help="COLUMN=N: at most N items of a list with the same value. Several flags add up.",
    ),
]
Diversity = Annotated[
    float,
    typer.Option(min=0, max=1, help="0: order of the scores, to 1: items as unlike as can be."),
]
Show = Annotated[
    str, typer.Option(help="Columns to tell of each item, as title,price: serve_columns has them.")
]


def read_rules(
    candidates: Path | None,
    exclude_items: Path | None,
    where: str | None,
    max_per: Sequence[str] | None,
    diversity: float,
) -> dict[str, Any]:
    """The rules as arguments, checked as far as that needs no run.

    Raises:
        ConfigError: If a flag is wrong.
        DataError: If a file cannot be read.
    """
    if where is not None:
        from recbole_hm4sr.serve.where import parse_where

        parse_where(where)
    return {
        "candidates": None if candidates is None else _read_lines(candidates, "candidates"),
        "exclude_items": [] if exclude_items is None else _read_lines(exclude_items, "items"),
        "where": where,
        "max_per": dict(map(_limit, max_per or [])),
        "diversity": diversity,
    }


def read_items(text: str, what: str) -> list[str]:
    """The items of a flag: ``a,b``, or ``@FILE`` for a file with one a line.

    Raises:
        DataError: If the file cannot be read.
    """
    return _read_lines(Path(text[1:]), what) if text.startswith("@") else names_of(text)


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name or not number.isdecimal() or int(number) < 1:
        raise ConfigError(f"--max_per must have the form COLUMN=N, N 1 or more, got {text!r}")
    return name, int(number)


def _read_lines(path: Path, what: str) -> list[str]:
    lines = read_text(path, f"the {what} in", DataError).split("\n")
    tokens = [line.removesuffix("\r") for line in lines]
    return [token for token in tokens if token]
