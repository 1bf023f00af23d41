"""What the HTTP service takes and gives, with its limits."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    create_model,
)

from recbole_hm4sr.data.times import TIME_LIMITS, UNIT_WORDS

MAX_USERS = 1000
MAX_HISTORY = 10_000
MAX_INTERACTIONS = 200_000
MAX_ITEMS = 1000
MAX_CANDIDATES = 100_000
MAX_BODY_BYTES = 16 << 20


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# To JSON, 5.0 is a whole number; a text or a truth value is none.
WholeFloats = BeforeValidator(_as_whole)
Token = Annotated[str, Field(min_length=1, max_length=512, strict=True)]


class Body(BaseModel):
    """A body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Interaction(Body):
    """An item that a user took, and when."""

    item: Token = Field(description="An item of the run; others are skipped and counted.")
    time: int


class Request(Body):
    """Users, and what to recommend to them."""

    histories: Annotated[
        list[Annotated[list[Interaction], Field(max_length=MAX_HISTORY)]],
        Field(min_length=1, max_length=MAX_USERS),
    ] = Field(
        description=f"A list a user, in any order; at most {MAX_INTERACTIONS:,} interactions in "
        f"all. An empty one is answered with what is popular.",
    )
    k: Annotated[
        int,
        Field(strict=True, ge=1, le=MAX_ITEMS, description="Items a user."),
        WholeFloats,
    ] = 10
    exclude_seen: StrictBool = Field(True, description="Leave out what the user has taken.")
    candidates: Annotated[
        list[Token] | None,
        Field(min_length=1, max_length=MAX_CANDIDATES, description="Recommend these items only."),
    ] = None
    explain: StrictBool = Field(
        False,
        description="Tell why each item is recommended, and the part of each modality in each "
        "score, if the model can.",
    )
    at: Annotated[int | None, Field(strict=True, ge=0), WholeFloats] = Field(
        None,
        description="The moment of the request, as the times are given; now where it is left out. "
        "Only a model that reads it (asks_when of /version) takes it.",
    )


def request_model(
    unit: str, tokens: list[str], times: list[int], *, earliest: int | None
) -> type[Request]:
    """The request of a run: its schema knows how large a time can be, and names items of the run.

    Larger times are refused where the histories are read, with what to do about them.

    Args:
        unit: ``s`` or ``ms``.
        tokens: Some items of the run.
        times: As many times, in the unit.
        earliest: The first moment that a request may be of; None where no moment is read.
    """
    limits = Field(
        strict=True,
        ge=0,
        description=f"{UNIT_WORDS[unit].capitalize()} since 1970 (UTC).",
        json_schema_extra={"exclusiveMaximum": TIME_LIMITS[unit]},
    )
    time: Any = Annotated[int, limits, WholeFloats]
    of_request = Request.model_fields
    item: Any = Annotated[Token, Interaction.model_fields["item"]]
    interaction: Any = create_model(
        "Interaction",
        __base__=Interaction,
        item=(item, Field(examples=tokens[:1])),
        time=(time, Field(examples=times[:1])),
    )
    history = Annotated[list[interaction], Field(max_length=MAX_HISTORY)]
    histories: Any = Annotated[
        list[history], Field(min_length=1, max_length=MAX_USERS), of_request["histories"]
    ]
    took = {"item": tokens[0], "time": times[0]}
    candidates: Any = Annotated[list[Token] | None, of_request["candidates"]]
    return create_model(
        "Request",
        __base__=Request,
        histories=(histories, Field(examples=[[[took]]])),
        candidates=(candidates, Field(None, examples=[tokens])),
        at=_moment_field(earliest, TIME_LIMITS[unit]),
    )


def _moment_field(earliest: int | None, limit: int) -> Any:
    """The field ``at`` of a run: its schema has what is answered, all else gets its sentence."""
    own = Request.model_fields["at"]
    allowed: list[dict[str, Any]] = [{"type": "null"}]
    if earliest is not None:
        allowed.insert(0, {"type": "integer", "minimum": earliest, "maximum": limit - 1})
    schema = {"anyOf": allowed, "examples": [earliest], "description": own.description}
    return Annotated[int | None, own, WithJsonSchema(schema)], None


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
    shares: dict[str, float] | None = None
    reason: Reason | None = None


class UserItems(BaseModel):
    """The items of one user, best first; popular ones if no item of the history is known.

    None are left for a user who has taken every item.
    """

    source: str = Field(pattern="^(model|popular)$")
    unknown_items: int = Field(ge=0, description="Interactions skipped: their items are unknown.")
    items: list[Item]


class Moment(BaseModel):
    """A moment, as the run counts time and as a date."""

    time: int
    date: str = Field(description="ISO 8601, UTC.")


KnownUntil = Annotated[
    Moment | None,
    Field(description="What the memory of the model knows was known before; none without one."),
]


class Answer(BaseModel):
    """A list a user, in the order of the request."""

    users: list[UserItems]
    unknown_candidates: int = Field(0, ge=0)
    known_until: KnownUntil = None


class Health(BaseModel):
    """The service is up and its model loaded."""

    status: str = "ok"


class Version(BaseModel):
    """What is served."""

    version: str
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
