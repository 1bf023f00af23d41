"""An exported index over HTTP, without torch: ``python -m recbole_hm4sr.serve.onnx_only FOLDER``.

This needs numpy, onnxruntime, fastapi and uvicorn, and nothing else: the package can be installed
with ``--no-deps``. What the command line needs besides is not asked for, so this module has one of
its own; ``hm4sr serve --onnx FOLDER`` does the same.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi import Request as HttpRequest
from pydantic import BeforeValidator, Field, StrictBool, create_model

import recbole_hm4sr
from recbole_hm4sr.base.errors import UserError
from recbole_hm4sr.data.times import ISO_EXAMPLE, PER_SECOND
from recbole_hm4sr.serve import answer_bodies, body_parts
from recbole_hm4sr.serve.answer_bodies import as_moment
from recbole_hm4sr.serve.body_parts import MAX_BODY_BYTES, as_whole
from recbole_hm4sr.serve.exported import read_facts
from recbole_hm4sr.serve.metrics import Metrics
from recbole_hm4sr.serve.onnx_index import OnnxIndex, UserList
from recbole_hm4sr.serve.refusals import SizeLimit, answer_errors
from recbole_hm4sr.serve.running import bind_port, run_service
from recbole_hm4sr.serve.served import Opened, Served, index_source, version_of
from recbole_hm4sr.serve.service import require_packages
from recbole_hm4sr.serve.states import Bound, add_states, count_users, model_of


class Request(body_parts.Body):
    """Users, and what to recommend to them."""

    histories: Annotated[
        list[Annotated[list[body_parts.Interaction], Field(max_length=body_parts.MAX_HISTORY)]],
        Field(min_length=1, max_length=body_parts.MAX_USERS),
    ]
    k: body_parts.NumberOfItems = 10
    candidates: body_parts.Candidates = None
    exclude_items: body_parts.Excluded = Field([])
    exclude_seen: StrictBool = Field(True, description="Leave out what the user has taken.")
    at: int | None = None


def open_index(folder: Path, metrics: Metrics, threads: int | None = None) -> Opened:
    """Open an index to serve it; see :meth:`recbole_hm4sr.serve.served.Source.open`.

    It answers one request: an index that cannot answer is found out here.

    Raises:
        DataError: If the folder is no index, or a file is missing or damaged.
    """
    index = OnnxIndex(folder, threads)
    facts, known = index.facts, index.times.known_until(None)
    state = facts["served"]
    served = Served(
        run=facts["run"],
        version=version_of(state["serving"] or state["checkpoint"]),
        checkpoint=state["checkpoint"],
        content=index.content,
        known_until=None if known is None else known / PER_SECOND[index.unit],
    )
    index.recommend([(index.tokens[:1].tolist(), [0])], 1)
    return served, _app_of(index, served, metrics)


def _app_of(index: OnnxIndex, served: Served, metrics: Metrics) -> Any:
    facts = index.facts
    app = FastAPI(
        title=f"{facts['model']} on {facts['dataset']}",
        description=f"Recommendations of the run `{facts['run']}`, from its exported index.",
        version=recbole_hm4sr.__version__,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    answer_errors(app)
    app.add_middleware(SizeLimit, limit=MAX_BODY_BYTES)
    request_class: Any = _request_model(index.unit)

    @app.post(
        "/recommend",
        tags=["recommendations"],
        responses={**answer_bodies.PROBLEMS, **answer_bodies.UNREADY},
        response_model_exclude_none=True,
    )
    def recommend(
        request: Annotated[request_class, Body()], asked: HttpRequest
    ) -> answer_bodies.Answer:
        """The best items for each history, in the order of the request.

        A history without an item of the index is answered with what is popular, and says so.
        """
        answer = _recommend(model_of(asked), request, served.version)
        count_users(metrics, answer)
        return answer

    add_states(app, _version(index, served), served, metrics)
    return Bound(app, index)


def _request_model(unit: str) -> type[Request]:
    """The request of an index, whose times may be dates."""

    def read(value: Any) -> Any:
        return _read_date(value, unit) if isinstance(value, str) else as_whole(value)

    number: Any = Annotated[int, Field(strict=True, ge=0), BeforeValidator(read)]
    interaction: Any = create_model(
        "Interaction", __base__=body_parts.Interaction, time=(number, ...)
    )
    histories: Any = Annotated[
        list[Annotated[list[interaction], Field(max_length=body_parts.MAX_HISTORY)]],
        Field(min_length=1, max_length=body_parts.MAX_USERS),
    ]
    return create_model(
        "Request", __base__=Request, histories=(histories, ...), at=(number | None, None)
    )


def _read_date(text: str, unit: str) -> int:
    """A date of ISO 8601 in a unit, rounded down; without a zone it is of UTC."""
    if text.strip().isdecimal():
        return int(text)
    # Python 3.10 knows no Z.
    plain = text.strip()
    plain = plain[:-1] + "+00:00" if plain.endswith(("Z", "z")) else plain
    try:
        moment = datetime.datetime.fromisoformat(plain)
    except ValueError as error:
        raise ValueError(
            f"a moment must be a number or a date of ISO 8601 from 1970 on, as {ISO_EXAMPLE}, "
            f"got {text!r}"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return since // datetime.timedelta(seconds=1) if unit == "s" else since // _MILLISECOND


_MILLISECOND = datetime.timedelta(milliseconds=1)


def _recommend(index: OnnxIndex, request: Any, version: str) -> answer_bodies.Answer:
    body_parts.refuse_many(request.histories)
    unknown = 0
    if request.candidates is not None:
        unknown = int((index.rows(request.candidates) < 0).sum())
        if unknown == len(request.candidates):
            raise HTTPException(404, "none of the candidates is an item of the run")
    histories = [
        ([it.item for it in history], [it.time for it in history]) for history in request.histories
    ]
    lists, known = index.recommend(
        histories,
        request.k,
        exclude_seen=request.exclude_seen,
        candidates=request.candidates,
        exclude_items=request.exclude_items,
        at=request.at,
    )
    return answer_bodies.Answer(
        version=version,
        users=[_user_items(index, it) for it in lists],
        unknown_candidates=unknown,
        known_until=as_moment(known, index.unit),
    )


def _user_items(index: OnnxIndex, found: UserList) -> answer_bodies.UserItems:
    # With the digits of float32, not of its nearest float64.
    pairs = zip(index.tokens[found.items].tolist(), map(str, found.scores), strict=True)
    return answer_bodies.UserItems(
        source="model" if found.by_model else "popular",
        unknown_items=found.unknown,
        items=[
            answer_bodies.Item(item=token, score=float(score), details=None)
            for token, score in pairs
        ],
    )


def _version(index: OnnxIndex, served: Served) -> answer_bodies.Version:
    facts = index.facts
    return answer_bodies.Version(
        version=recbole_hm4sr.__version__,
        served=served.version,
        checkpoint=served.checkpoint,
        serving=facts["served"]["serving"],
        model=facts["model"],
        dataset=facts["dataset"],
        run=facts["run"],
        generated=facts["generated"],
        n_items=facts["n_items"],
        max_length=facts["max_length"],
        timestamp_unit=index.unit,
        reads=facts["reads"],
        asks_when=facts["asks_when"],
        known_until=as_moment(index.times.known_until(None), index.unit),
        fingerprints=facts["fingerprints"],
    )


# --- the command --------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> None:
    """Serve an index; what the user can mend is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m recbole_hm4sr.serve.onnx_only")
    parser.add_argument("folder", type=Path, help="a folder that hm4sr export has written")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    parser.add_argument(
        "--reload_on_change", action="store_true", help="serve what the folder has later too"
    )
    asked = parser.parse_args(words)
    if not (0 <= asked.port <= 65535 and asked.workers >= 1):
        parser.error("--port must be from 0 to 65535 and --workers 1 or more")
    try:
        read_facts(asked.folder)
        require_packages("onnxruntime", install="onnxruntime")
        run_service(
            index_source(asked.folder),
            bind_port(asked.host, asked.port),
            workers=asked.workers,
            reload_on_change=asked.reload_on_change,
        )
    except UserError as error:
        sys.exit(_refused(error))


def _refused(error: UserError) -> int:
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return 2


if __name__ == "__main__":
    main()
