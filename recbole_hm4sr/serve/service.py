"""A small HTTP service: recommendations of one run as JSON, with an OpenAPI page.

It listens to this machine alone unless told otherwise, has no users and no passwords: what is
reachable from elsewhere belongs behind a server that has. It reads JSON and nothing else.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import recbole_hm4sr
from recbole_hm4sr.base.errors import ConfigError, DataError, UserError
from recbole_hm4sr.data.times import as_date
from recbole_hm4sr.model.capabilities import what_it_reads
from recbole_hm4sr.serve.recommend import Recommender

if TYPE_CHECKING:
    from recbole_hm4sr.serve.examples import Examples

logger = logging.getLogger(__name__)
_GRACE_SECONDS = 10
_MOST_CONNECTIONS = 128


def create_app(recommender: Recommender) -> Any:
    """The service of a run, as an ASGI application.

    Args:
        recommender: The loaded run.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing.
    """
    require_packages()
    from fastapi_offline import FastAPIOffline

    from recbole_hm4sr.serve import bodies
    from recbole_hm4sr.serve.examples import TAGS, describe, make_examples

    # The OpenAPI page brings its scripts along: a machine without internet shows it too.
    app = FastAPIOffline(
        title=f"{recommender.run.config['model']} on {recommender.run.config['dataset']}",
        description=describe(recommender),
        version=recbole_hm4sr.__version__,
        openapi_tags=TAGS,
        redoc_url=None,
    )
    _answer_errors(app)
    app.add_middleware(_SizeLimit, limit=bodies.MAX_BODY_BYTES)
    examples = make_examples(recommender)
    _add_recommend(app, recommender, examples)
    _add_similar(app, recommender, examples)

    def answers(body: Any) -> dict[int | str, dict[str, Any]]:
        return {
            200: {"content": {"application/json": {"example": body.model_dump(exclude_none=True)}}}
        }

    @app.get("/health", tags=["service"], responses=answers(bodies.Health()))
    def health() -> bodies.Health:
        """Whether the service is up."""
        return bodies.Health()

    served = _version(recommender)

    @app.get(
        "/version",
        tags=["service"],
        responses=answers(served),
        response_model_exclude_none=True,
    )
    def version() -> bodies.Version:
        """What is served: run, model, data, package."""
        return served

    return app


def _add_recommend(app: Any, recommender: Recommender, examples: "Examples") -> None:
    """The path that recommends; its page has requests of the run's items, and their answers."""
    from fastapi import Body

    from recbole_hm4sr.serve import bodies

    request_class: Any = bodies.request_model(
        recommender.columns.unit,
        examples.tokens,
        examples.times,
        earliest=recommender.earliest_moment(),
        table=recommender.items.table,
    )
    shown: Any = examples.requests
    request_body: Any = Annotated[request_class, Body(openapi_examples=shown)]
    responses = _answered(
        examples.requests, lambda body: _recommend(recommender, request_class(**body))
    )

    @app.post(
        "/recommend",
        tags=["recommendations"],
        responses=responses,
        response_model_exclude_none=True,
    )
    def recommend(request: request_body) -> bodies.Answer:
        """The best items for each history, in the order of the request.

        A history without an item of the run is answered with what is popular, and says so.
        """
        return _recommend(recommender, request)


def _add_similar(app: Any, recommender: Recommender, examples: "Examples") -> None:
    """The path that tells items like others, if the run can."""
    from fastapi import Body

    from recbole_hm4sr.serve import bodies

    ways = recommender.items.ways
    if not ways:
        return
    request_class: Any = bodies.similar_model(
        examples.tokens, ways=ways, table=recommender.items.table
    )
    shown: Any = examples.similar
    request_body: Any = Annotated[request_class, Body(openapi_examples=shown)]
    responses = _answered(
        examples.similar, lambda body: _similar(recommender, request_class(**body))
    )

    @app.post(
        "/similar", tags=["recommendations"], responses=responses, response_model_exclude_none=True
    )
    def similar(request: request_body) -> bodies.SimilarAnswer:
        """The items most like each item, in the order of the request.

        An item that the run does not know has no answer, and the answer says so.
        """
        return _similar(recommender, request)


def _answered(examples: Mapping[str, Any], answer: Callable[[Any], Any]) -> dict[Any, Any]:
    """The answers to the requests that a page shows, and what is refused."""
    from recbole_hm4sr.serve import bodies

    answers = {
        name: {
            "summary": example["summary"],
            "value": answer(example["value"]).model_dump(exclude_none=True),
        }
        for name, example in examples.items()
    }
    return {200: {"content": {"application/json": {"examples": answers}}}, **bodies.PROBLEMS}


def run_service(recommender: Recommender, *, host: str, port: int) -> None:
    """Serve until the process is told to stop; running requests are finished first.

    A warning says where a refresh of the run will not reach every user.

    Raises:
        ConfigError: If the packages of the extra ``serve`` are missing.
    """
    app = create_app(recommender)
    warn_of_past_requests(recommender)
    import uvicorn

    uvicorn.run(
        app,
        host=host,
        port=port,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
    )


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


def _recommend(recommender: Recommender, request: Any) -> Any:
    from recbole_hm4sr.serve import bodies

    _refuse_late(request)
    unknown = _unknown_candidates(recommender, request)
    histories = [
        ([it.item for it in history], [it.time for it in history]) for history in request.histories
    ]
    found = recommender.recommend(
        histories,
        request.k,
        exclude_seen=request.exclude_seen,
        explain=request.explain,
        at=request.at,
        **request.rules(),
    )
    users = [
        bodies.UserItems(
            source=record["source"],
            unknown_items=record["unknown_items"],
            items=[bodies.Item(**item) for item in record["items"]],
        )
        for record in found.records()
    ]
    return bodies.Answer(
        users=users,
        unknown_candidates=unknown,
        known_until=_as_moment(found.known_until, recommender),
    )


def _similar(recommender: Recommender, request: Any) -> Any:
    from fastapi import HTTPException

    from recbole_hm4sr.serve import bodies

    _unknown_candidates(recommender, request)
    if not recommender.knows(request.items).any():
        raise HTTPException(404, "none of the items is an item of the run")
    found = recommender.similar(request.items, request.k, by=request.by, **request.rules())
    return bodies.SimilarAnswer(items=[bodies.LikeOne(**record) for record in found.records()])


def _unknown_candidates(recommender: Recommender, request: Any) -> int:
    """How many candidates are no items; if none is one, nothing can be found."""
    from fastapi import HTTPException

    if request.candidates is None:
        return 0
    known = recommender.knows(request.candidates)
    if not known.any():
        raise HTTPException(404, "none of the candidates is an item of the run")
    return int((~known).sum())


def _as_moment(time: int | None, recommender: Recommender) -> Any:
    from recbole_hm4sr.serve import bodies

    if time is None:
        return None
    return bodies.Moment(time=time, date=as_date(time, recommender.columns.unit))


def _refuse_late(request: Any) -> None:
    """What the form of a body cannot say."""
    from recbole_hm4sr.serve import bodies

    total = sum(map(len, request.histories))
    if total > bodies.MAX_INTERACTIONS:
        raise ConfigError(
            f"histories must hold at most {bodies.MAX_INTERACTIONS:,} interactions in all, got "
            f"{total:,}"
        )


def _version(recommender: Recommender) -> Any:
    from recbole_hm4sr.serve import bodies

    config = recommender.run.config
    return bodies.Version(
        version=recbole_hm4sr.__version__,
        model=config["model"],
        dataset=config["dataset"],
        run=recommender.run.run_dir.resolve().name,
        generated=config["generated"],
        n_items=recommender.n_items - 1,
        max_length=recommender.max_length,
        timestamp_unit=recommender.columns.unit,
        reads=sorted(what_it_reads(recommender.model)),
        asks_when=recommender.asks_when,
        known_until=_as_moment(recommender.known_until(), recommender),
        fingerprints=dict(recommender.run.fingerprints),
    )


def _answer_errors(app: Any) -> None:
    """Every refusal is a list of sentences; none repeats what it was sent."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    def answer(status: int, *errors: str, headers: Any = None) -> Any:
        # Lone halves of surrogate pairs can come in by JSON's escapes, but not go out in UTF-8.
        texts = [text.encode("utf-8", "replace").decode() for text in errors]
        return JSONResponse({"errors": texts}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Any, error: RequestValidationError) -> Any:
        broken = any(problem["type"] == "json_invalid" for problem in error.errors())
        found = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
        return answer(400 if broken else 422, *found[:20])

    @app.exception_handler(ConfigError)
    @app.exception_handler(DataError)
    def refused(_: Any, error: UserError) -> Any:
        return answer(422, str(error))

    @app.exception_handler(HTTPException)
    def other(_: Any, error: HTTPException) -> Any:
        return answer(error.status_code, str(error.detail), headers=error.headers)


class _SizeLimit:
    """Refuses large bodies before they are read, and while they come without a stated length."""

    def __init__(self, app: Any, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The server has refused lengths that are no numbers.
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if int(stated) > self.limit:
            await self._refuse(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                await self._refuse(scope, receive, send)
                return
        parts = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> dict[str, Any]:
            return parts.pop() if parts else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import JSONResponse

        sentence = f"the body must have at most {self.limit:,} bytes"
        await JSONResponse({"errors": [sentence]}, status_code=413)(scope, receive, send)
