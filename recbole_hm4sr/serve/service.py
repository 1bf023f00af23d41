"""A small HTTP service: recommendations of one run as JSON, with an OpenAPI page.

It listens to this machine alone unless told otherwise, has no users and no passwords: what is
reachable from elsewhere belongs behind a server that has. It reads JSON and nothing else.
"""

import contextlib
import copy
import logging
import threading
import time
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.serve.metrics import Metrics
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.reloading import POLL_SECONDS, RunWatch
from recbole_hm4sr.serve.served import Served

logger = logging.getLogger(__name__)
_GRACE_SECONDS = 10
_MOST_CONNECTIONS = 128


class Service:
    """The service, as an ASGI application: each request goes to the state that is served then.

    A state comes with an application of its own, which checks, answers and describes by it alone.
    :meth:`put` changes both at once, so that a request is of one state from beginning to end; a
    state is let go when the last request to it is answered.

    Attributes:
        metrics: What was done, over all states.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing.
    """

    def __init__(self) -> None:
        require_packages()
        from recbole_hm4sr.serve.routes import app_without_run

        self.metrics = Metrics()
        self._state: tuple[Served | None, Any] = (None, app_without_run(self.metrics))

    @property
    def served(self) -> Served | None:
        """What is served now; None until a run is loaded."""
        return self._state[0]

    def put(self, recommender: Recommender) -> None:
        """Serve this from now on; requests that are being answered are finished as they began."""
        from recbole_hm4sr.serve.routes import app_of

        served = Served.of(recommender)
        self._state = served, app_of(served, self.metrics)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, as ASGI has it."""
        _, app = self._state
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status: int | None = None

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await app(scope, receive, noted)
        finally:
            self.metrics.observe(scope["path"], status, time.perf_counter() - began)


def create_app(recommender: Recommender) -> Service:
    """The service of a run that is loaded, as an ASGI application.

    Args:
        recommender: The loaded run.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing.
    """
    service = Service()
    service.put(recommender)
    return service


def run_service(
    run_dir: str | Path, *, host: str, port: int, reload_on_change: bool = False
) -> None:
    """Serve until the process is told to stop; running requests are finished first.

    It listens at once, and is ready when the run is loaded. A warning says where a refresh of the
    run will not reach every user.

    Args:
        run_dir: Folder of the run.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        reload_on_change: Also serve what the folder's ``serving.npz`` says later.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing, or the model cannot score
            histories of users it has not seen.
        DataError: If the folder holds no run, or its files do not belong together.
    """
    service = Service()
    import uvicorn
    from uvicorn.config import LOGGING_CONFIG

    log: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    log["loggers"]["recbole_hm4sr"] = {"handlers": ["default"], "level": "INFO"}
    server = uvicorn.Server(
        uvicorn.Config(
            service,
            host=host,
            port=port,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            server_header=False,
            log_config=log,
        )
    )
    failures: list[Exception] = []
    stop = threading.Event()

    def keep() -> None:
        try:
            watch = RunWatch(Path(run_dir), service)
            warn_of_past_requests(watch.open())
            if reload_on_change:
                watch.follow(stop, POLL_SECONDS)
        except Exception as error:  # noqa: BLE001  # raised below, in the thread that was asked
            failures.append(error)
            server.should_exit = True

    thread = threading.Thread(target=keep, name="run")
    thread.start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def warn_of_past_requests(recommender: Recommender) -> None:
    """Say where a refresh of the run will not reach every user."""
    if recommender.run.data.clock is not None and not recommender.asks_when:
        logger.warning(
            "with request_time: last a request is of the user's newest interaction, so that a "
            "refresh does not reach a user who was away; train a run that is meant for a service "
            "with request_time: target"
        )


def require_packages() -> None:
    """Refuse early without the packages of the extra.

    Raises:
        ConfigError: If one is missing.
    """
    try:
        import fastapi  # noqa: F401
        import fastapi_offline  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"hm4sr serve needs the package {error.name}; pip install 'recbole-hm4sr[serve]'"
        ) from error
