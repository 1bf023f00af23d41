"""How far a command is: what it is at, how much of it is done, of how much."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What goes on, how much of it is done, of how much (0: unknown).
Report = Callable[[str, int, int], None]
_EVERY_SECONDS = 0.5


def silent(what: str, done: int, total: int) -> None:
    """A report that says nothing."""


@contextmanager
def engine_progress(connection: Any, what: str, report: Report) -> Iterator[None]:
    """Report how far DuckDB is with the statements of a block, in percent where it knows.

    Args:
        connection: The connection that runs them, in this thread.
        what: What they are for.
        report: Called at once, then from another thread.
    """
    report(what, 0, 0)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY_SECONDS):
            percent = connection.query_progress()
            if percent > 0:
                report(what, int(percent), 100)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
