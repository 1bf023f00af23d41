"""What the HTTP service gives: answers, and why a request is refused."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from recbole_hm4sr.data.times import as_date
from recbole_hm4sr.serve.body_parts import MAX_BODY_BYTES


class Reason(BaseModel):
    """Why an item is recommended."""

    kind: str = Field(
        description="memory: an item of the history, which others took close to it or which is "
        "like it; history: an item of the history, without which the score would fall most; whole "
        "history; popularity; or a modality, as text."
    )
    item: str | None = Field(None, description="The item of the history.")
    title: str | None = Field(None, description="Its title, where the data set is at hand.")
    share: float | None = Field(
        None,
        description="Part of what lifts the score above that of the median item; above 1 where "
        "other parts lower it.",
    )


class Item(BaseModel):
    """A recommended item; the shares sum to the score."""

    item: str
    score: float
    details: dict[str, float | str | list[str] | None] | None = Field(
        None, description="The columns that were asked for."
    )
    shares: dict[str, float] | None = None
    reason: Reason | None = None


class UserItems(BaseModel):
    """The items of one user, best first; popular ones if no item of the history is known.

    None are left for a user who has taken every item that may be recommended.
    """

    source: str = Field(pattern="^(model|popular)$")
    unknown_items: int = Field(ge=0, description="Interactions skipped: their items are unknown.")
    items: list[Item]


class Moment(BaseModel):
    """A moment, as the run counts time and as a date."""

    time: int
    date: str = Field(description="ISO 8601, UTC.")


def as_moment(time: int | None, unit: str) -> Moment | None:
    """A time of a run as an answer has it; None stays."""
    return None if time is None else Moment(time=time, date=as_date(time, unit))


KnownUntil = Annotated[
    Moment | None,
    Field(description="What the memory of the model knows was known before; none without one."),
]


Served = Annotated[
    str,
    Field(
        description="The state of the run that it came from, which /version describes: another "
        "one after each refresh, update or training."
    ),
]


class Answer(BaseModel):
    """A list a user, in the order of the request."""

    version: Served
    users: list[UserItems]
    unknown_candidates: int = Field(0, ge=0)
    known_until: KnownUntil = None


class LikeOne(BaseModel):
    """The items most like one item, most like first; none for one that is not known."""

    item: str
    known: bool = Field(description="Whether it is an item of the run.")
    items: list[Item]


class SimilarAnswer(BaseModel):
    """A list for each item, in the order of the request; scores are cosines."""

    version: Served
    items: list[LikeOne]


class Health(BaseModel):
    """The process answers, whether or not a run is loaded."""

    status: str = "ok"


class Ready(BaseModel):
    """A run is loaded."""

    status: str = "ready"
    version: Served


class Version(BaseModel):
    """What is served."""

    version: str = Field(description="Of the package.")
    served: Served
    checkpoint: str = Field(description="SHA-256 of the weights.")
    serving: str = Field(description="SHA-256 of serving.npz; empty where the run has none.")
    model: str
    dataset: str
    run: str
    generated: bool
    n_items: int
    max_length: int
    timestamp_unit: str
    reads: list[str] = Field(description="What the model reads besides items.")
    asks_when: bool = Field(description="Whether scores depend on the moment of the request.")
    known_until: KnownUntil = None
    fingerprints: dict[str, str]


class Problem(BaseModel):
    """Why a request is refused, a sentence each."""

    errors: list[str]


def _problem(description: str, sentence: str) -> dict[str, Any]:
    example = {"application/json": {"example": {"errors": [sentence]}}}
    return {"model": Problem, "description": description, "content": example}


NOT_READY = "no run is loaded yet; ask again later"
# Of paths that need no body.
UNREADY: dict[int | str, dict[str, Any]] = {503: _problem("No run is loaded yet.", NOT_READY)}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The body is no JSON.", "body.1: JSON decode error"),
    404: _problem(
        "None of the candidates is an item of the run.",
        "none of the candidates is an item of the run",
    ),
    413: _problem(
        f"The body is larger than {MAX_BODY_BYTES:,} bytes.",
        f"the body must have at most {MAX_BODY_BYTES:,} bytes",
    ),
    422: _problem(
        "A value is wrong; the sentences say which.",
        "body.k: Input should be greater than or equal to 1",
    ),
}
