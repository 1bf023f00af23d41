"""The commands, one module a group. The only package that ends the process, or prints for it.

Torch and RecBole take seconds to import, and ``--help`` must not: the modules here import what they
run inside the command.
"""

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from recbole_hm4sr import __version__
from recbole_hm4sr.base.errors import UserError
from recbole_hm4sr.cli import (
    add_items,
    catalog,
    check,
    compare,
    convert,
    encode,
    later,
    prepare,
    recommend,
    report,
    runs,
    similar,
    train,
    tune,
)
from recbole_hm4sr.cli.options import SPEAKS, out

app = typer.Typer(
    name="hm4sr",
    help="Multi-modal, time-aware sequential recommendation for RecBole.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _group in (
    train,
    recommend,
    later,
    similar,
    add_items,
    compare,
    tune,
    report,
    runs,
    check,
    prepare,
    encode,
    convert,
    catalog,
):
    _group.register(app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        out.print(f"hm4sr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """The words before a command."""


# The parent of every mistake in flags and commands; typer does not export it by its name.
_UsageError: Any = typer.BadParameter.__base__
_LONGEST_MESSAGE = 4000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    if not SPEAKS:
        logging.disable(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign less is better than no table
    try:
        code = app(
            args=None if arguments is None else list(arguments),
            standalone_mode=False,
        )
    except UserError as error:
        _refuse(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else app.info.name
        _refuse(f"{error.format_message().rstrip('.')}; {command} --help says what it takes")
    except typer.Abort:
        _refuse("aborted")
    except BrokenPipeError:
        # Who read the output is gone; without this the interpreter complains again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> NoReturn:
    """One line on stderr, whatever was quoted in it, and exit code 2."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_MESSAGE:
        line = f"{line[: _LONGEST_MESSAGE // 2]} ... {line[-_LONGEST_MESSAGE // 2 :]}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {line}", markup=False)
    sys.exit(2)
