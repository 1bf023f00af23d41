"""Who may be asked next: a queue that spares every host."""

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Download:
    """An address to fetch, for the items that share it.

    Attributes:
        url: The address.
        host: Its host.
        tokens: The items.
        tries: Tries so far.
        ready: Earliest moment of the next try, on the monotonic clock.
    """

    url: str
    host: str
    tokens: tuple[str, ...]
    tries: int = 0
    ready: float = 0.0


@dataclass
class _Host:
    name: str
    jobs: deque[Download] = field(default_factory=deque)
    active: int = 0
    free_at: float = 0.0


class PoliteQueue:
    """Jobs for many workers: few at once for a host, a pause between two, hosts in turn.

    A worker takes a job, and gives back :meth:`done` or :meth:`again`. :meth:`take` waits until a
    job may start; it returns None when none is left or after :meth:`stop`.

    Args:
        jobs: All jobs.
        per_host: Most jobs of a host at once.
        pause: Seconds between the starts of two jobs of a host.
    """

    def __init__(self, jobs: Iterable[Download], *, per_host: int, pause: float) -> None:
        self._per_host, self._pause = per_host, pause
        self._changed = threading.Condition()
        self._hosts: dict[str, _Host] = {}
        for job in jobs:
            self._hosts.setdefault(job.host, _Host(job.host)).jobs.append(job)
        self._turn = deque(self._hosts.values())
        self._n_active = 0
        self._stopped = False

    def take(self) -> Download | None:
        """The next job that may start, or None when all is done."""
        with self._changed:
            while not self._stopped and (self._turn or self._n_active):
                wait = self._next_moment()
                if wait is not None and wait <= 0:
                    return self._start()
                self._changed.wait(wait)
            return None

    def done(self, job: Download) -> None:
        """A job has ended, well or not."""
        with self._changed:
            self._end(job)

    def again(self, job: Download, *, seconds: float, whole_host: bool) -> None:
        """A job is to be tried again later; ``whole_host`` rests its host until then, too."""
        moment = time.monotonic() + seconds
        with self._changed:
            host = self._hosts[job.host]
            if whole_host:
                host.free_at = max(host.free_at, moment)
            if not host.jobs:
                self._turn.append(host)
            host.jobs.append(Download(job.url, job.host, job.tokens, job.tries + 1, moment))
            self._end(job)

    def stop(self) -> None:
        """Give out no more jobs."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _end(self, job: Download) -> None:
        self._hosts[job.host].active -= 1
        self._n_active -= 1
        self._changed.notify_all()

    def _next_moment(self) -> float | None:
        """Turn to the first host that is free; else the seconds until one is, None if unknown."""
        now, soonest = time.monotonic(), None
        for _ in range(len(self._turn)):
            host = self._turn[0]
            if host.active < self._per_host:
                moment = max(host.free_at, host.jobs[0].ready)
                if moment <= now:
                    return 0.0
                soonest = moment if soonest is None else min(soonest, moment)
            self._turn.rotate(-1)
        return None if soonest is None else soonest - now

    def _start(self) -> Download:
        host = self._turn.popleft()
        job = host.jobs.popleft()
        host.active += 1
        self._n_active += 1
        host.free_at = max(host.free_at, time.monotonic() + self._pause)
        if host.jobs:
            self._turn.append(host)
        return job
