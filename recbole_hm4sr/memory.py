"""Memory that was freed goes back to the system while a model trains on the CPU."""

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from typing import Any

_BATCHES_BETWEEN = 16  # one release costs as much as a fourth of a step


def releasing_memory(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches as they are; before the first and every 16th, freed memory goes back to the system.

    Packed batches differ in size, so what one step frees seldom fits the next, and glibc keeps it
    all: a process would grow from step to step. On other C libraries nothing is done.

    Args:
        batches: The loader of an epoch.
    """
    for number, batch in enumerate(batches):
        if number % _BATCHES_BETWEEN == 0:
            release_freed_memory()
        yield batch


def release_freed_memory() -> None:
    """Give whole pages that were freed back to the system, from between used ones as well."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
