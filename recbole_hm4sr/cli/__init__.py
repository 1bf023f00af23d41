"""The commands, one module a group. The only package that prints or ends the process.

Torch and RecBole take seconds to import, and ``--help`` must not: the modules here import what they
run inside the command.
"""

import logging
import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from recbole_hm4sr.cli import check, compare, convert, encode, prepare, report, train
from recbole_hm4sr.cli.words import SPEAKS
from recbole_hm4sr.errors import PluginError

app = typer.Typer(
    name="hm4sr",
    help="Multi-modal, time-aware sequential recommendation for RecBole.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _group in (train, compare, report, check, prepare, encode, convert):
    _group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    if not SPEAKS:
        logging.disable(logging.WARNING)
    try:
        app(args=None if arguments is None else list(arguments))
    except PluginError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


def main_train() -> None:
    """``python run_hm4sr.py ...`` is ``hm4sr train ...``."""
    main(["train", *sys.argv[1:]])
