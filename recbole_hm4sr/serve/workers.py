"""Several processes that answer at one port, and the one that watches them.

Each worker opens what is served for itself, follows it, and accepts connections of one socket. What
they import is imported once, in a process that they are forked from; files of a memory and of
features are mapped. One worker more than asked for is kept in reserve: it has opened what is served
and listens as soon as another one ends, so that nobody waits for a model to be opened. Connections
that nobody has accepted yet stay with the socket.

A worker ends when its pipe does: none outlives the process that watches it.
"""

import contextlib
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from recbole_hm4sr.base.errors import ConfigError, UserError
from recbole_hm4sr.serve.metrics import ENDED_WORKERS, WORKERS, Metrics, shared_rows
from recbole_hm4sr.serve.reloading import RunWatch
from recbole_hm4sr.serve.running import (
    GRACE_SECONDS,
    Keeper,
    address_of,
    log_config,
    make_server,
)
from recbole_hm4sr.serve.served import Source
from recbole_hm4sr.serve.service import Service

logger = logging.getLogger(__name__)
_LISTEN = "listen"
# Before a worker that could not open what is served is started again; doubled each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


@dataclass(frozen=True)
class _Task:
    """What a worker is told when it starts.

    Attributes:
        source: What to serve.
        listening: The socket.
        rows: Counts of all processes.
        row: Which of them is its own.
        follows: Whether to serve later states too.
        is_first: Whether it listens before it has opened what it serves.
        threads: How many may compute.
    """

    source: Source
    listening: socket.socket
    rows: Any
    row: int
    follows: bool
    is_first: bool
    threads: int


@dataclass
class _Worker:
    """A worker, as its supervisor sees it.

    Attributes:
        process: It.
        pipe: To it and from it.
        row: Of its counts.
        is_ready: Whether it has opened what is served.
        listens: Whether it accepts connections.
    """

    process: Any
    pipe: Connection
    row: int
    is_ready: bool = False
    listens: bool = False


class Supervisor:
    """Keeps as many workers at work as were asked for, and one in reserve.

    Args:
        source: What they serve.
        listening: Their socket.
        n_workers: How many listen.
        follows: Whether they serve later states too.

    Raises:
        ConfigError: If this system cannot fork.
    """

    def __init__(
        self, source: Source, listening: socket.socket, n_workers: int, *, follows: bool
    ) -> None:
        if "forkserver" not in multiprocessing.get_all_start_methods():
            raise ConfigError("--workers must be 1 on a system that cannot fork processes")
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([source.module, __name__])
        self._source, self._listening, self._follows = source, listening, follows
        self._n_workers = n_workers
        # One row for each worker, and one for what the supervisor counts.
        self._rows = shared_rows(n_workers + 2, self._context)
        self._metrics = Metrics(self._rows, n_workers + 1)
        self._workers: list[_Worker] = []
        self._was_ready = self._stops = False
        self._pause, self._not_before = _FIRST_PAUSE, 0.0

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM.

        Raises:
            UserError: If no worker has ever been able to open what is served.
        """
        logging.config.dictConfig(log_config())
        logger.info("%d workers at %s", self._n_workers, address_of(self._listening))
        with self._woken_by_signals() as woken:
            try:
                while not self._stops:
                    self._fill()
                    self._await(woken)
            finally:
                self._stop_all()

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[socket.socket]:
        """A socket that can be read after a signal to stop; the handlers of before at the end."""
        waking, woken = socket.socketpair()
        for end in (waking, woken):
            end.setblocking(False)

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._stops = True

        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, stop) for number in handled}
        descriptor = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            waking.close()
            woken.close()

    def _fill(self) -> None:
        """Start what is missing, unless one has just failed."""
        while len(self._workers) <= self._n_workers and time.monotonic() >= self._not_before:
            rows = {worker.row for worker in self._workers}
            row = next(number for number in range(self._n_workers + 1) if number not in rows)
            listens = not self._was_ready and self._n_listening() < self._n_workers
            own, theirs = self._context.Pipe()
            task = _Task(
                self._source,
                self._listening,
                self._rows,
                row,
                self._follows,
                listens,
                max(1, _cores() // self._n_workers),
            )
            process = self._context.Process(target=work, args=(task, theirs), name=f"worker-{row}")
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, own, row))
            if listens:
                self._set_to_work(self._workers[-1])

    def _n_listening(self) -> int:
        return sum(worker.listens for worker in self._workers)

    def _set_to_work(self, worker: _Worker) -> None:
        worker.listens = True
        self._metrics.add(WORKERS, 1)
        with contextlib.suppress(OSError):  # it has ended, which its sentinel tells
            worker.pipe.send(_LISTEN)

    def _await(self, woken: socket.socket) -> None:
        """Until something happens, and what it asks for."""
        pause = self._not_before - time.monotonic()
        ends = {worker.process.sentinel: worker for worker in self._workers}
        pipes = {worker.pipe: worker for worker in self._workers}
        for happened in wait([*ends, *pipes, woken], pause if pause > 0 else None):
            if happened in pipes:
                self._hear(pipes[happened])
        for worker in [it for it in self._workers if not it.process.is_alive()]:
            self._bury(worker)
        for worker in self._workers:
            if worker.is_ready and self._n_listening() < self._n_workers and not worker.listens:
                self._set_to_work(worker)

    def _hear(self, worker: _Worker) -> None:
        """What a worker says once: that it is ready, or why it cannot be."""
        try:
            error = worker.pipe.recv()
        except (EOFError, OSError):
            # It has ended; a pipe that is at its end would be heard again and again.
            worker.process.join()
            return
        if error is None:
            worker.is_ready = self._was_ready = True
            self._pause = _FIRST_PAUSE
        elif not self._was_ready:
            raise error
        else:
            logger.warning("a worker cannot open %s: %s", self._source.folder, error)

    def _bury(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.listens:
            self._metrics.add(WORKERS, -1)
        self._metrics.add(ENDED_WORKERS)
        logger.warning(
            "worker %s has ended (exit code %s); another one takes its place",
            worker.process.pid,
            worker.process.exitcode,
        )
        if not worker.is_ready:
            self._not_before = time.monotonic() + self._pause
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    def _stop_all(self) -> None:
        """End all workers: what they are answering first, those that do not end by force."""
        for worker in self._workers:
            worker.process.terminate()
        latest = time.monotonic() + GRACE_SECONDS + 5
        for worker in self._workers:
            worker.process.join(max(0.0, latest - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()


def _cores() -> int:
    """How many threads all workers together may compute with."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


# --- in a worker --------------------------------------------------------------------------------


def work(task: _Task, pipe: Connection) -> None:
    """What a worker does until SIGTERM, or until the process that watches it is gone.

    Args:
        task: What it is told.
        pipe: To and from the process that watches it.
    """
    # Of a terminal, all processes hear ctrl-C: the one that watches tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    service = Service(Metrics(task.rows, task.row))
    server = make_server(service, _server_class())
    may_listen = threading.Event()
    threading.Thread(target=_obey, args=(pipe, may_listen, server), daemon=True).start()

    def then(error: Exception | None) -> None:
        if error is not None and not isinstance(error, UserError):
            logger.error("what is served cannot be opened", exc_info=error)
            error = RuntimeError(f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            pipe.send(error)
        if error is not None:
            os._exit(1)

    watch = RunWatch(task.source, service, task.threads)
    Keeper(watch, follows=task.follows, then=then).start()
    if not task.is_first:
        may_listen.wait()
    server.run(sockets=[task.listening])


def _obey(pipe: Connection, may_listen: threading.Event, server: Any) -> None:
    """Listen when told to; end with the process that says so."""
    try:
        while pipe.recv() == _LISTEN:
            may_listen.set()
    except (EOFError, OSError):
        server.should_exit = True
        if not may_listen.is_set():
            os._exit(0)


def _server_class() -> Any:
    """A server that ends by SIGTERM alone, and then as a process that was asked to."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            signal.signal(signal.SIGTERM, self.handle_exit)
            yield

    return Server
