"""Counts of a service, as text that Prometheus reads (exposition format 0.0.4).

Requests are answered by several threads: one lock guards the counts of a process, so that what a
text says of it is of one moment. Several processes that serve one port keep their counts in memory
that they share, a row each. A text is of all of them, whichever process is asked; a row outlives
its process, and the one that takes its place counts on in it.
"""

import ctypes
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recbole_hm4sr.serve.served import Served

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Paths with counts of their own. All others share one, so that no client can add series.
OTHER_PATH = "other"
PATHS = (
    "/recommend", "/similar", "/health", "/ready", "/metrics", "/version", "/docs", "/openapi.json",
)  # fmt: skip
# Of a request whose client has gone before it was answered.
NO_STATUS = "none"
# Upper ends of the classes of seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS, DURATION = "hm4sr_requests_total", "hm4sr_request_seconds"
USERS, UNKNOWN = "hm4sr_users_total", "hm4sr_unknown_items_total"
SWAPS, FAILED_SWAPS = "hm4sr_swaps_total", "hm4sr_failed_swaps_total"
WORKERS, ENDED_WORKERS = "hm4sr_workers", "hm4sr_ended_workers_total"
SERVED, KNOWN_UNTIL = "hm4sr_served_info", "hm4sr_known_until_seconds"
_HELP = {
    REQUESTS: ("counter", "Requests by path and HTTP status."),
    DURATION: ("histogram", "Seconds from a request's head to the end of its answer."),
    USERS: ("counter", "Histories answered, by the model or with what is popular."),
    UNKNOWN: ("counter", "Items in requests that the run does not know."),
    SWAPS: ("counter", "New states of the run that a process took in the place of the old one."),
    FAILED_SWAPS: ("counter", "New states of the run that a process could not open."),
    WORKERS: ("gauge", "Processes that answer requests."),
    ENDED_WORKERS: ("counter", "Processes that ended without being told to, and were replaced."),
    SERVED: ("gauge", "1 for the run that this process serves; version as answers name it."),
    KNOWN_UNTIL: ("gauge", "The moment up to which the memory knows, in seconds since 1970."),
}
_Labels = tuple[tuple[str, str], ...]
Array = np.ndarray[Any, Any]
# Counts other than of requests: there from the start, so that each shows its first step.
_COUNTS: tuple[tuple[str, _Labels], ...] = (
    (USERS, (("source", "model"),)),
    (USERS, (("source", "popular"),)),
    (UNKNOWN, (("path", "/recommend"),)),
    (UNKNOWN, (("path", "/similar"),)),
    (SWAPS, ()),
    (FAILED_SWAPS, ()),
    (WORKERS, ()),
    (ENDED_WORKERS, ()),
)
_PLACES = {key: place for place, key in enumerate(_COUNTS)}
_ALL_PATHS = (*PATHS, OTHER_PATH)
_FIRST_STATUS, _N_STATUSES = 100, 500
# Parts of a row, by name: requests by path and status, seconds by path and class, and the rest.
_SHAPES = {
    "requests": (len(_ALL_PATHS), _N_STATUSES + 1),
    "classes": (len(_ALL_PATHS), len(SECONDS) + 1),
    "seconds": (len(_ALL_PATHS),),
    "counts": (len(_COUNTS),),
}
N_COLUMNS = sum(int(np.prod(shape)) for shape in _SHAPES.values())


def shared_rows(n_rows: int, context: Any) -> Any:
    """Memory for the counts of several processes, to be handed to them.

    Args:
        n_rows: One for each process.
        context: Of ``multiprocessing``.
    """
    return context.RawArray(ctypes.c_double, n_rows * N_COLUMNS)


class Metrics:
    """What a service has done since it was started.

    Args:
        rows: Of :func:`shared_rows`; None for a process that serves alone.
        row: Which of them is this process's.
    """

    def __init__(self, rows: Any = None, row: int = 0) -> None:
        self._lock = threading.Lock()
        if rows is None:
            rows = np.zeros(N_COLUMNS)
        self._rows: Array = np.frombuffer(rows, dtype=np.float64).reshape(-1, N_COLUMNS)
        self._own = _parts(self._rows[row])

    def add(self, name: str, number: int = 1, **labels: str) -> None:
        """Count up, or down what is no counter."""
        place = _PLACES[name, tuple(labels.items())]
        with self._lock:
            self._own["counts"][place] += number

    def observe(self, path: str, status: int | None, seconds: float) -> None:
        """Count a request.

        Args:
            path: Of its address.
            status: Of its answer; None if none was begun.
            seconds: How long it took.
        """
        at = _ALL_PATHS.index(path if path in PATHS else OTHER_PATH)
        code = _N_STATUSES if status is None else status - _FIRST_STATUS
        with self._lock:
            self._own["requests"][at, code] += 1
            self._own["classes"][at, bisect_left(SECONDS, seconds)] += 1
            self._own["seconds"][at] += seconds

    def text(self, served: Served | None) -> str:
        """All counts of all processes, and what this one serves."""
        with self._lock:
            total = _parts(self._rows.sum(axis=0))
        lines = []
        for name, (kind, words) in _HELP.items():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            if name == REQUESTS:
                lines += _requests(total["requests"])
            elif name == DURATION:
                lines += _histograms(total["classes"], total["seconds"])
            else:
                lines += [
                    _line(name, dict(labels), total["counts"][place])
                    for (own, labels), place in _PLACES.items()
                    if own == name
                ]
            if served is not None:
                lines += _of_served(name, served)
        return "\n".join(lines) + "\n"


def _parts(row: Array) -> dict[str, Array]:
    """The parts of a row, each in its shape, without copying."""
    ends = np.cumsum([np.prod(shape) for shape in _SHAPES.values()])[:-1]
    flat = np.split(row, ends)
    return {
        name: part.reshape(shape) for (name, shape), part in zip(_SHAPES.items(), flat, strict=True)
    }


def _requests(numbers: Array) -> Iterator[str]:
    for at, code in np.argwhere(numbers):
        status = NO_STATUS if code == _N_STATUSES else str(_FIRST_STATUS + code)
        labels = {"path": _ALL_PATHS[at], "status": status}
        yield _line(REQUESTS, labels, numbers[at, code])


def _histograms(classes: Array, seconds: Array) -> Iterator[str]:
    """Classes as the format has them: each with all that are below its upper end."""
    for at in np.flatnonzero(classes.any(axis=1)):
        path = {"path": _ALL_PATHS[at]}
        below = np.cumsum(classes[at])
        for end, number in zip((*map(str, SECONDS), "+Inf"), below, strict=True):
            yield _line(f"{DURATION}_bucket", {**path, "le": end}, number)
        yield _line(f"{DURATION}_sum", path, seconds[at])
        yield _line(f"{DURATION}_count", path, below[-1])


def _of_served(name: str, served: Served) -> list[str]:
    if name == SERVED:
        labels = {"run": served.run, "version": served.version, "checkpoint": served.checkpoint}
        return [_line(name, labels, 1)]
    if name == KNOWN_UNTIL and served.known_until is not None:
        return [_line(name, {}, served.known_until)]
    return []


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    number = str(int(value)) if float(value).is_integer() else repr(float(value))
    if not labels:
        return f"{name} {number}"
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {number}"


def _escaped(text: str) -> str:
    """A label's text: the run's name may have any character that a folder's may."""
    plain = text.encode("utf-8", "replace").decode()
    return plain.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
