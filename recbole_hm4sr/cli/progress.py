"""Progress on stderr: bars on a terminal, now and then a line in a log file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recbole_hm4sr.cli.options import out

_LINE_SECONDS = 30.0


@contextmanager
def progress(if_stopped: str) -> Iterator[Callable[[str, int, int], None]]:
    """A report of what goes on, how much of it is done, and of how much (0: unknown).

    Args:
        if_stopped: What Ctrl-C leaves, for the line that it is answered with.

    Raises:
        typer.Exit: With 130, on Ctrl-C.
    """
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    try:
        if console.is_terminal:
            with _bars(console) as report:
                yield report
        else:
            yield _lines(console)
    except KeyboardInterrupt:
        out.print(f"\ninterrupted; {if_stopped}")
        raise typer.Exit(130) from None


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One bar for each thing that goes on; they vanish at the end."""
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            for task in tasks.values():
                bars.stop_task(task)
            tasks[what] = bars.add_task(what, total=None)
        bars.update(tasks[what], completed=done, total=total or None)

    with bars:
        yield report


def _lines(console: Console) -> Callable[[str, int, int], None]:
    """A line at most every half minute, so short work is silent."""
    last = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            console.print(f"{what}: {done / total:.0%}" if total else what)

    return report
