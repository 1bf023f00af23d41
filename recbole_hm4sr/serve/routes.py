"""The paths of the HTTP service of a run, and how the run is opened for them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import Body, HTTPException
from fastapi import Request as HttpRequest
from fastapi_offline import FastAPIOffline

import recbole_hm4sr
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.model.capabilities import what_it_reads
from recbole_hm4sr.serve import answer_bodies, bodies
from recbole_hm4sr.serve.answer_bodies import as_moment
from recbole_hm4sr.serve.body_parts import MAX_BODY_BYTES, refuse_many
from recbole_hm4sr.serve.examples import TAGS, Examples, describe, make_examples
from recbole_hm4sr.serve.metrics import UNKNOWN, Metrics
from recbole_hm4sr.serve.moments import warn_of_past_requests
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refusals import SizeLimit, answer_errors
from recbole_hm4sr.serve.served import Opened, Served, version_of
from recbole_hm4sr.serve.states import Bound, add_states, count_users, model_of


def open_run(folder: Path, metrics: Metrics, threads: int | None = None) -> Opened:
    """Open a run to serve it; see :meth:`recbole_hm4sr.serve.served.Source.open`.

    A warning says where a refresh of the run will not reach every user.

    Raises:
        ConfigError: If its model cannot score histories of users it has not seen.
        DataError: If the folder holds no run, or its files do not belong together.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    recommender = Recommender.load(folder)
    warn_of_past_requests(recommender)
    return opened(recommender, metrics)


def opened(recommender: Recommender, metrics: Metrics) -> Opened:
    """What names a loaded run, and the application that answers from it."""
    run, known = recommender.run, recommender.known_until()
    served = Served(
        run=run.run_dir.resolve().name,
        version=version_of(run.serving or run.checkpoint),
        checkpoint=run.checkpoint,
        content=run.serving,
        known_until=None if known is None else known / PER_SECOND[recommender.columns.unit],
    )
    return served, _app_of(recommender, served, metrics)


def _app_of(recommender: Recommender, served: Served, metrics: Metrics) -> Any:
    """The application that answers from one state of a run, as an ASGI application.

    It answers the examples of its page once: a state that cannot answer is found out here.
    """
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
    app.add_middleware(SizeLimit, limit=MAX_BODY_BYTES)
    examples = make_examples(recommender)
    _add_recommend(app, recommender, served, metrics, examples)
    if recommender.items.ways:
        _add_similar(app, recommender, served, metrics, examples)
    add_states(app, _version(recommender, served), served, metrics)
    return Bound(app, recommender)


def _add_recommend(
    app: Any, recommender: Recommender, served: Served, metrics: Metrics, examples: Examples
) -> None:
    """The path that recommends; its page has requests of the run's items, and their answers."""
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
        examples.requests,
        lambda body: _recommend(recommender, request_class(**body), served.version),
    )

    @app.post(
        "/recommend",
        tags=["recommendations"],
        responses=responses,
        response_model_exclude_none=True,
    )
    def recommend(request: request_body, asked: HttpRequest) -> answer_bodies.Answer:
        """The best items for each history, in the order of the request.

        A history without an item of the run is answered with what is popular, and says so.
        """
        answer = _recommend(model_of(asked), request, served.version)
        count_users(metrics, answer)
        return answer


def _add_similar(
    app: Any, recommender: Recommender, served: Served, metrics: Metrics, examples: Examples
) -> None:
    """The path that tells items like others."""
    request_class: Any = bodies.similar_model(
        examples.tokens, ways=recommender.items.ways, table=recommender.items.table
    )
    shown: Any = examples.similar
    request_body: Any = Annotated[request_class, Body(openapi_examples=shown)]
    responses = _answered(
        examples.similar, lambda body: _similar(recommender, request_class(**body), served.version)
    )

    @app.post(
        "/similar", tags=["recommendations"], responses=responses, response_model_exclude_none=True
    )
    def similar(request: request_body, asked: HttpRequest) -> answer_bodies.SimilarAnswer:
        """The items most like each item, in the order of the request.

        An item that the run does not know has no answer, and the answer says so.
        """
        answer = _similar(model_of(asked), request, served.version)
        metrics.add(UNKNOWN, sum(not it.known for it in answer.items), path="/similar")
        return answer


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


def _recommend(recommender: Recommender, request: Any, version: str) -> answer_bodies.Answer:
    refuse_many(request.histories)
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
        version=version,
        users=users,
        unknown_candidates=unknown,
        known_until=as_moment(found.known_until, recommender.columns.unit),
    )


def _similar(recommender: Recommender, request: Any, version: str) -> answer_bodies.SimilarAnswer:
    _unknown_candidates(recommender, request)
    if not recommender.knows(request.items).any():
        raise HTTPException(404, "none of the items is an item of the run")
    found = recommender.similar(request.items, request.k, by=request.by, **request.rules())
    items = [answer_bodies.LikeOne(**record) for record in found.records()]
    return answer_bodies.SimilarAnswer(version=version, items=items)


def _unknown_candidates(recommender: Recommender, request: Any) -> int:
    """How many candidates are no items; if none is one, nothing can be found."""
    if request.candidates is None:
        return 0
    known = recommender.knows(request.candidates)
    if not known.any():
        raise HTTPException(404, "none of the candidates is an item of the run")
    return int((~known).sum())


def _version(recommender: Recommender, served: Served) -> answer_bodies.Version:
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
        known_until=as_moment(recommender.known_until(), recommender.columns.unit),
        fingerprints=dict(run.fingerprints),
    )
