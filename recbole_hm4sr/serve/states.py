"""The paths by which a service says how it is, with a run and before it has one."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse

from recbole_hm4sr.serve import answer_bodies
from recbole_hm4sr.serve.metrics import CONTENT_TYPE, UNKNOWN, USERS, Metrics
from recbole_hm4sr.serve.refusals import answer_errors
from recbole_hm4sr.serve.served import Served

_MODEL = "hm4sr.model"


class Bound:
    """An application with what it answers from.

    FastAPI remembers for good the functions that it calls, and with them what they close over, an
    application of its own included. So they must not hold a model: a request brings it along, and
    a state that is served no more can be let go.

    Args:
        app: Of FastAPI.
        model: What :func:`model_of` finds in its requests.
    """

    def __init__(self, app: Any, model: Any) -> None:
        self.app, self.model = app, model

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, as ASGI has it."""
        await self.app({**scope, _MODEL: self.model}, receive, send)


def model_of(request: Request) -> Any:
    """What a request is to be answered from."""
    return request.scope[_MODEL]


def app_without_run(metrics: Metrics) -> Any:
    """The application of a service that has no run yet: all else than its own states is refused."""
    app = FastAPI(openapi_url=None)
    answer_errors(app)
    _add_health(app)

    @app.get("/metrics", response_class=PlainTextResponse)
    def counts() -> Any:
        return PlainTextResponse(metrics.text(None), media_type=CONTENT_TYPE)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    def refuse(path: str) -> None:  # noqa: ARG001
        raise HTTPException(503, answer_bodies.NOT_READY)

    return app


def add_states(
    app: Any, described: answer_bodies.Version, served: Served, metrics: Metrics
) -> None:
    """What the service says of itself and of its run.

    Args:
        app: Of FastAPI.
        described: What is served, in full.
        served: What is served.
        metrics: What was done.
    """
    _add_health(app)
    ready_now = answer_bodies.Ready(version=served.version)
    readiness: dict[int | str, Any] = {**shown(ready_now), **answer_bodies.UNREADY}

    @app.get("/ready", tags=["service"], responses=readiness)
    def ready() -> answer_bodies.Ready:
        """Whether a run is loaded, so that requests are answered."""
        return ready_now

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    def counts() -> Any:
        """What the service has done since it was started, in the text format of Prometheus."""
        return PlainTextResponse(metrics.text(served), media_type=CONTENT_TYPE)

    @app.get(
        "/version",
        tags=["service"],
        responses=shown(described),
        response_model_exclude_none=True,
    )
    def version() -> answer_bodies.Version:
        """What is served: run, model, data, package."""
        return described


def count_users(metrics: Metrics, answer: answer_bodies.Answer) -> None:
    """Count the users of an answer, by what it comes from, and the items that were not known."""
    for source in ("model", "popular"):
        n_users = sum(user.source == source for user in answer.users)
        metrics.add(USERS, n_users, source=source)
    unknown = sum(user.unknown_items for user in answer.users)
    metrics.add(UNKNOWN, unknown, path="/recommend")


def shown(body: Any) -> dict[int | str, dict[str, Any]]:
    """An answer that is always the same, as a page shows it."""
    example = body.model_dump(exclude_none=True)
    return {200: {"content": {"application/json": {"example": example}}}}


def _add_health(app: Any) -> None:
    @app.get("/health", tags=["service"], responses=shown(answer_bodies.Health()))
    def health() -> answer_bodies.Health:
        """Whether the process answers; it need not have loaded its run."""
        return answer_bodies.Health()
