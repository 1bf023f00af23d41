"""A service at work: the port, the server, and the thread that keeps what is served.

One process listens at once and is ready when it has opened what it serves. Several share the port:
see :mod:`recbole_hm4sr.serve.workers`.
"""

import contextlib
import copy
import socket
import threading
from collections.abc import Callable
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.serve.reloading import POLL_SECONDS, RunWatch
from recbole_hm4sr.serve.served import Source
from recbole_hm4sr.serve.service import Service

GRACE_SECONDS = 10
_MOST_CONNECTIONS = 128


def run_service(
    source: Source, listening: socket.socket, *, workers: int = 1, reload_on_change: bool = False
) -> None:
    """Serve until the process is told to stop; running requests are finished first.

    Args:
        source: What to serve.
        listening: Of :func:`bind_port`; closed at the end.
        workers: Processes that answer; more than one are watched, and replaced when they end.
        reload_on_change: Also serve what the folder has later.

    Raises:
        ConfigError: If packages are missing, or the source cannot be served.
        DataError: If the folder lacks files, or they do not belong together.
    """
    with listening:
        if workers > 1:
            from recbole_hm4sr.serve.workers import Supervisor

            Supervisor(source, listening, workers, follows=reload_on_change).run()
        else:
            _serve_alone(source, listening, follows=reload_on_change)


def bind_port(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine, which does not listen yet.

    Args:
        host: Name or number of the address.
        port: 0 takes a free one.

    Raises:
        ConfigError: If that cannot be had.
    """
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise ConfigError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; name another with "
            f"--host and --port"
        ) from error
    return bound


def address_of(bound: socket.socket) -> str:
    """Where clients reach a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(service: Service, server_class: Callable[[Any], Any] | None = None) -> Any:
    """A server of uvicorn that is not started.

    Args:
        service: The application.
        server_class: Of uvicorn's or one that is derived from it; None for uvicorn's.
    """
    import uvicorn

    return (server_class or uvicorn.Server)(
        uvicorn.Config(
            service,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            server_header=False,
            log_config=log_config(),
        )
    )


def log_config() -> dict[str, Any]:
    """The log of uvicorn, with that of the package in it."""
    from uvicorn.config import LOGGING_CONFIG

    log: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    log["loggers"]["recbole_hm4sr"] = {"handlers": ["default"], "level": "INFO"}
    return log


class Keeper(threading.Thread):
    """Opens what is served, and follows it if it is to.

    Args:
        watch: Opens it.
        follows: Whether to look for another state until :meth:`stop`.
        then: Called in this thread when it is open, or cannot be: with the error, or None.
    """

    def __init__(
        self, watch: RunWatch, *, follows: bool, then: Callable[[Exception | None], None]
    ) -> None:
        super().__init__(name="run", daemon=True)
        self._watch, self._follows, self._then = watch, follows, then
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Open, and follow."""
        try:
            self._watch.open()
        except Exception as error:  # noqa: BLE001  # told to whoever asked for it
            self._then(error)
            return
        self._then(None)
        if self._follows:
            self._watch.follow(self._stop_now, POLL_SECONDS)

    def stop(self) -> None:
        """Look no more; what is being opened is opened first."""
        self._stop_now.set()
        self.join()


def _serve_alone(source: Source, listening: socket.socket, *, follows: bool) -> None:
    import logging

    service = Service()
    server = make_server(service)
    logging.getLogger(__name__).info("listening at %s", address_of(listening))
    failures: list[Exception] = []

    def then(error: Exception | None) -> None:
        if error is not None:
            failures.append(error)
            server.should_exit = True

    keeper = Keeper(RunWatch(source, service), follows=follows, then=then)
    keeper.start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    finally:
        keeper.stop()
    if failures:
        raise failures[0]
