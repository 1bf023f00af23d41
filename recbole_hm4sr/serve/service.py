"""A small HTTP service: recommendations of one run as JSON, with an OpenAPI page.

It listens to this machine alone unless told otherwise, has no users and no passwords: what is
reachable from elsewhere belongs behind a server that has. It reads JSON and nothing else.
"""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.serve.metrics import Metrics
from recbole_hm4sr.serve.served import Served

if TYPE_CHECKING:
    from recbole_hm4sr.serve.recommend import Recommender


class Service:
    """The service, as an ASGI application: each request goes to the state that is served then.

    A state comes with an application of its own, which checks, answers and describes by it alone.
    :meth:`put` changes both at once, so that a request is of one state from beginning to end; a
    state is let go when the last request to it is answered.

    Args:
        metrics: Where to count, over all states; None for counts of its own.

    Raises:
        ConfigError: If the packages that serve are missing.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        require_packages()
        from recbole_hm4sr.serve.states import app_without_run

        self.metrics = metrics or Metrics()
        self._state: tuple[Served | None, Any] = (None, app_without_run(self.metrics))

    @property
    def served(self) -> Served | None:
        """What is served now; None until a run is loaded."""
        return self._state[0]

    def put(self, served: Served, app: Any) -> None:
        """Serve this from now on; requests that are being answered are finished as they began."""
        self._state = served, app

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


def create_app(recommender: "Recommender") -> Service:
    """The service of a run that is loaded, as an ASGI application.

    Args:
        recommender: The loaded run.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing.
    """
    service = Service()
    require_packages("fastapi_offline")
    from recbole_hm4sr.serve.routes import opened  # it imports torch

    service.put(*opened(recommender, service.metrics))
    return service


def require_packages(*more: str, install: str = "'recbole-hm4sr[serve]'") -> None:
    """Refuse early without the packages that serve.

    Args:
        more: Packages that are needed besides those of any service.
        install: What pip is to install.

    Raises:
        ConfigError: If one is missing.
    """
    try:
        for name in ("fastapi", "uvicorn", *more):
            import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"hm4sr serve needs the package {error.name}; pip install {install}"
        ) from error
