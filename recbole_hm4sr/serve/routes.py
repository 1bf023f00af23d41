"""The paths of the HTTP service: of a run that is served, and of a service that has none yet."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline

import recbole_hm4sr
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.times import as_date
from recbole_hm4sr.model.capabilities import what_it_reads
from recbole_hm4sr.serve import answer_bodies, bodies
from recbole_hm4sr.serve.examples import TAGS, Examples, describe, make_examples
from recbole_hm4sr.serve.metrics import CONTENT_TYPE, UNKNOWN, USERS, Metrics
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refusals import SizeLimit, answer_errors
from recbole_hm4sr.serve.served import Served


def app_of(served: Served, metrics: Metrics) -> Any:
    """The application that answers from one state of a run, as an ASGI application.

    It answers the examples of its page once: a state that cannot answer is found out here.

    Args:
        served: The state.
        metrics: Where to count.
    """
    recommender = served.recommender
    config = recommender.run.config
    # The OpenAPI page brings its scripts along: a machine without internet shows it too.
    app = FastAPIOffline(
        title=f"{config['model']} on {config['dataset']}",
        description=describe(recommender),
        version=recbole_hm4sr.__version__,
        openapi_tags=TAGS,
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(SizeLimit, limit=bodies.MAX_BODY_BYTES)
    examples = make_examples(recommender)
    _add_recommend(app, served, metrics, examples)
    if recommender.items.ways:
        _add_similar(app, served, metrics, examples)
    _add_states(app, served, metrics)
    described = _version(served)

    @app.get(
        "/version",
        tags=["service"],
        responses=_shown(described),
        response_model_exclude_none=True,
    )
    def version() -> answer_bodies.Version:
        """What is served: run, model, data, package."""
        return described

    return app


def app_without_run(metrics: Metrics) -> Any:
    """The application of a service that has no run yet: all else than its own states is refused."""
    app = FastAPI(openapi_url=None)
    answer_errors(app)
    _add_states(app, None, metrics)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    def refuse(path: str) -> None:  # noqa: ARG001
        raise HTTPException(503, answer_bodies.NOT_READY)

    return app


def _add_states(app: Any, served: Served | None, metrics: Metrics) -> None:
    """What the service says of itself, with a run and without."""

    @app.get("/health", tags=["service"], responses=_shown(answer_bodies.Health()))
    def health() -> answer_bodies.Health:
        """Whether the process answers; it need not have loaded its run."""
        return answer_bodies.Health()

    ready_now = answer_bodies.Ready(version=served.version if served else "")
    readiness: dict[int | str, Any] = {**_shown(ready_now), **answer_bodies.UNREADY}

    @app.get(
        "/ready",
        tags=["service"],
        responses=readiness,
    )
    def ready() -> answer_bodies.Ready:
        """Whether a run is loaded, so that requests are answered."""
        if served is None:
            raise HTTPException(503, answer_bodies.NOT_READY)
        return ready_now

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    def counts() -> Any:
        """What the service has done since it was started, in the text format of Prometheus."""
        return PlainTextResponse(metrics.text(served), media_type=CONTENT_TYPE)


def _add_recommend(app: Any, served: Served, metrics: Metrics, examples: Examples) -> None:
    """The path that recommends; its page has requests of the run's items, and their answers."""
    recommender = served.recommender
    request_class: Any = bodies.request_model(
        recommender.columns.unit,
        examples.tokens,
        examples.times,
        earliest=recommender.earliest_moment(),
        table=recommender.items.table,
    )
    shown: Any = examples.requests
    request_body: Any = Annotated[request_class, Body(openapi_examples=shown)]
    responses = _answered(examples.requests, lambda body: _recommend(served, request_class(**body)))

    @app.post(
        "/recommend",
        tags=["recommendations"],
        responses=responses,
        response_model_exclude_none=True,
    )
    def recommend(request: request_body) -> answer_bodies.Answer:
        """The best items for each history, in the order of the request.

        A history without an item of the run is answered with what is popular, and says so.
        """
        answer = _recommend(served, request)
        for source in ("model", "popular"):
            n_users = sum(user.source == source for user in answer.users)
            metrics.add(USERS, n_users, source=source)
        unknown = sum(user.unknown_items for user in answer.users)
        metrics.add(UNKNOWN, unknown, path="/recommend")
        return answer


def _add_similar(app: Any, served: Served, metrics: Metrics, examples: Examples) -> None:
    """The path that tells items like others."""
    recommender = served.recommender
    request_class: Any = bodies.similar_model(
        examples.tokens, ways=recommender.items.ways, table=recommender.items.table
    )
    shown: Any = examples.similar
    request_body: Any = Annotated[request_class, Body(openapi_examples=shown)]
    responses = _answered(examples.similar, lambda body: _similar(served, request_class(**body)))

    @app.post(
        "/similar", tags=["recommendations"], responses=responses, response_model_exclude_none=True
    )
    def similar(request: request_body) -> answer_bodies.SimilarAnswer:
        """The items most like each item, in the order of the request.

        An item that the run does not know has no answer, and the answer says so.
        """
        answer = _similar(served, request)
        metrics.add(UNKNOWN, sum(not it.known for it in answer.items), path="/similar")
        return answer


def _shown(body: Any) -> dict[int | str, dict[str, Any]]:
    """An answer that is always the same, as a page shows it."""
    example = body.model_dump(exclude_none=True)
    return {200: {"content": {"application/json": {"example": example}}}}


def _answered(examples: Mapping[str, Any], answer: Callable[[Any], Any]) -> dict[Any, Any]:
    """The answers to the requests that a page shows, and what is refused."""
    answers = {
        name: {
            "summary": example["summary"],
            "value": answer(example["value"]).model_dump(exclude_none=True),
        }
        for name, example in examples.items()
    }
    content = {"application/json": {"examples": answers}}
    return {200: {"content": content}, **answer_bodies.PROBLEMS, **answer_bodies.UNREADY}


def _recommend(served: Served, request: Any) -> answer_bodies.Answer:
    recommender = served.recommender
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
        answer_bodies.UserItems(
            source=record["source"],
            unknown_items=record["unknown_items"],
            items=[answer_bodies.Item(**item) for item in record["items"]],
        )
        for record in found.records()
    ]
    return answer_bodies.Answer(
        version=served.version,
        users=users,
        unknown_candidates=unknown,
        known_until=_as_moment(found.known_until, recommender),
    )


def _similar(served: Served, request: Any) -> answer_bodies.SimilarAnswer:
    recommender = served.recommender
    _unknown_candidates(recommender, request)
    if not recommender.knows(request.items).any():
        raise HTTPException(404, "none of the items is an item of the run")
    found = recommender.similar(request.items, request.k, by=request.by, **request.rules())
    items = [answer_bodies.LikeOne(**record) for record in found.records()]
    return answer_bodies.SimilarAnswer(version=served.version, items=items)


def _unknown_candidates(recommender: Recommender, request: Any) -> int:
    """How many candidates are no items; if none is one, nothing can be found."""
    if request.candidates is None:
        return 0
    known = recommender.knows(request.candidates)
    if not known.any():
        raise HTTPException(404, "none of the candidates is an item of the run")
    return int((~known).sum())


def _as_moment(time: int | None, recommender: Recommender) -> answer_bodies.Moment | None:
    if time is None:
        return None
    return answer_bodies.Moment(time=time, date=as_date(time, recommender.columns.unit))


def _refuse_late(request: Any) -> None:
    """What the form of a body cannot say."""
    total = sum(map(len, request.histories))
    if total > bodies.MAX_INTERACTIONS:
        raise ConfigError(
            f"histories must hold at most {bodies.MAX_INTERACTIONS:,} interactions in all, got "
            f"{total:,}"
        )


def _version(served: Served) -> answer_bodies.Version:
    recommender = served.recommender
    run, config = recommender.run, recommender.run.config
    return answer_bodies.Version(
        version=recbole_hm4sr.__version__,
        served=served.version,
        checkpoint=run.checkpoint,
        serving=run.serving,
        model=config["model"],
        dataset=config["dataset"],
        run=served.run,
        generated=config["generated"],
        n_items=recommender.n_items - 1,
        max_length=recommender.max_length,
        timestamp_unit=recommender.columns.unit,
        reads=sorted(what_it_reads(recommender.model)),
        asks_when=recommender.asks_when,
        known_until=_as_moment(recommender.known_until(), recommender),
        fingerprints=dict(run.fingerprints),
    )
