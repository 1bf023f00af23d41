"""Counts of a service, as text that Prometheus reads (exposition format 0.0.4).

Requests are answered by several threads: one lock guards all counts, so that a text is of one
moment.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.serve.served import Served

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Paths with counts of their own. All others share one, so that no client can add series.
_OF_STATE = ("/health", "/ready", "/metrics", "/version")
PATHS = frozenset({"/recommend", "/similar", *_OF_STATE, "/docs", "/openapi.json"})
OTHER_PATH = "other"
# Of a request whose client has gone before it was answered.
NO_STATUS = "none"
# Upper ends of the classes of seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS, DURATION = "hm4sr_requests_total", "hm4sr_request_seconds"
USERS, UNKNOWN = "hm4sr_users_total", "hm4sr_unknown_items_total"
SWAPS, FAILED_SWAPS = "hm4sr_swaps_total", "hm4sr_failed_swaps_total"
SERVED, KNOWN_UNTIL = "hm4sr_served_info", "hm4sr_known_until_seconds"
_HELP = {
    REQUESTS: ("counter", "Requests by path and HTTP status."),
    DURATION: ("histogram", "Seconds from a request's head to the end of its answer."),
    USERS: ("counter", "Histories answered, by the model or with what is popular."),
    UNKNOWN: ("counter", "Items in requests that the run does not know."),
    SWAPS: ("counter", "Times that a new state of the run took the place of the old one."),
    FAILED_SWAPS: ("counter", "New states of the run that could not be opened."),
    SERVED: ("gauge", "1 for the run that is served; version as answers name it."),
    KNOWN_UNTIL: ("gauge", "The moment up to which the memory knows, in seconds since 1970."),
}
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What a service has done since it was started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, _Labels]] = Counter()
        self._classes: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        # A series that is there from the start shows its first step.
        for source in ("model", "popular"):
            self.add(USERS, 0, source=source)
        for path in ("/recommend", "/similar"):
            self.add(UNKNOWN, 0, path=path)
        self.add(SWAPS, 0)
        self.add(FAILED_SWAPS, 0)

    def add(self, name: str, number: int = 1, **labels: str) -> None:
        """Count up."""
        with self._lock:
            self._counts[name, tuple(labels.items())] += number

    def observe(self, path: str, status: int | None, seconds: float) -> None:
        """Count a request.

        Args:
            path: Of its address.
            status: Of its answer; None if none was begun.
            seconds: How long it took.
        """
        path = path if path in PATHS else OTHER_PATH
        code = NO_STATUS if status is None else str(status)
        with self._lock:
            self._counts[REQUESTS, (("path", path), ("status", code))] += 1
            classes = self._classes.setdefault(path, [0] * (len(SECONDS) + 1))
            classes[bisect_left(SECONDS, seconds)] += 1
            self._seconds[path] = self._seconds.get(path, 0.0) + seconds

    def text(self, served: Served | None) -> str:
        """All counts, and what is served."""
        with self._lock:
            counts = dict(self._counts)
            classes = {path: list(found) for path, found in self._classes.items()}
            seconds = dict(self._seconds)
        lines = []
        for name, (kind, words) in _HELP.items():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            lines += [
                _line(name, dict(labels), value)
                for (own, labels), value in sorted(counts.items())
                if own == name
            ]
            if name == DURATION:
                for path in sorted(classes):
                    lines += _histogram(path, classes[path], seconds[path])
            if served is not None:
                lines += _of_served(name, served)
        return "\n".join(lines) + "\n"


def _histogram(path: str, classes: list[int], seconds: float) -> Iterator[str]:
    """Classes as the format has them: each with all that are below its upper end."""
    so_far = 0
    for end, number in zip((*map(str, SECONDS), "+Inf"), classes, strict=True):
        so_far += number
        yield _line(f"{DURATION}_bucket", {"path": path, "le": end}, so_far)
    yield _line(f"{DURATION}_sum", {"path": path}, seconds)
    yield _line(f"{DURATION}_count", {"path": path}, so_far)


def _of_served(name: str, served: Served) -> list[str]:
    run, known = served.recommender.run, served.recommender.known_until()
    if name == SERVED:
        labels = {"run": served.run, "version": served.version, "checkpoint": run.checkpoint}
        return [_line(name, labels, 1)]
    if name == KNOWN_UNTIL and known is not None:
        return [_line(name, {}, known / PER_SECOND[served.recommender.columns.unit])]
    return []


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    if not labels:
        return f"{name} {value!r}"
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value!r}"


def _escaped(text: str) -> str:
    """A label's text: the run's name may have any character that a folder's may."""
    plain = text.encode("utf-8", "replace").decode()
    return plain.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
