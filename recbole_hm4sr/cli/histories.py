"""The flags of how a file of histories is written."""

from typing import Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.interaction_columns import UNITS

User = Annotated[str | None, typer.Option(help="Column of users of the file.")]
Item = Annotated[str | None, typer.Option(help="Column of items of the file.")]
Time = Annotated[str | None, typer.Option(help="Column of times of the file.")]
Unit = Annotated[
    str | None, typer.Option(help="What times are that are no moments: s, ms or date (texts).")
]
TimeFormat = Annotated[
    str | None,
    typer.Option("--time_format", help="Form of dates, as %d.%m.%Y %H:%M; else ISO 8601."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of the CSV file, as cp1252 or utf-16.")
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip_bad",
        help="Leave out lines of the file that cannot be used, and count them by reason.",
    ),
]


def check_given(unit: str | None, encoding: str | None) -> None:
    """Refuse what the flags cannot be.

    Raises:
        ConfigError: If one cannot.
    """
    if unit is not None and unit not in UNITS:
        raise ConfigError(f"--unit must be one of {', '.join(UNITS)}, got {unit!r}")
    if encoding is not None:
        from recbole_hm4sr.prepare.raw.csv_rows import check_encoding

        check_encoding("encoding", encoding)
