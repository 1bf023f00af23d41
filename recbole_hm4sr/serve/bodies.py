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

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.item_table import ItemTable, TextColumn
from recbole_hm4sr.data.times import TIME_LIMITS, UNIT_WORDS
from recbole_hm4sr.serve.history_times import read_moment
from recbole_hm4sr.serve.where import MOST_LETTERS

MAX_USERS = 1000
MAX_HISTORY = 10_000
MAX_INTERACTIONS = 200_000
MAX_ITEMS = 1000
MAX_CANDIDATES = 100_000
MAX_COLUMNS = 20
# Of schemas: a date from 1970 on that is no earlier than what a request may be of.
MOMENT = "moment"
# And a condition that is of the grammar and on columns of the run.
CONDITION = "where"
MAX_BODY_BYTES = 16 << 20


def _as_time(unit: str) -> BeforeValidator:
    """Whole floats and dates as numbers of a unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return _as_whole(value)
        try:
            return read_moment(value, unit)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# To JSON, 5.0 is a whole number; a text or a truth value is none.
WholeFloats = BeforeValidator(_as_whole)
_Limit = Annotated[int, Field(strict=True, ge=1), WholeFloats]
Token = Annotated[str, Field(min_length=1, max_length=512, strict=True)]


class Body(BaseModel):
    """A body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Interaction(Body):
    """An item that a user took, and when."""

    item: Token = Field(description="An item of the run; others are skipped and counted.")
    time: int


class Ruled(Body):
    """How many items a list has, and what may be in it."""

    k: Annotated[
        int,
        Field(strict=True, ge=1, le=MAX_ITEMS, description="Items a list."),
        WholeFloats,
    ] = 10
    candidates: Annotated[
        list[Token] | None,
        Field(min_length=1, max_length=MAX_CANDIDATES, description="Choose from these items only."),
    ] = None
    exclude_items: Annotated[
        list[Token],
        Field(max_length=MAX_CANDIDATES, description="Leave these out, as those out of stock."),
    ] = []
    where: Annotated[str | None, Field(max_length=MOST_LETTERS, strict=True)] = Field(
        None,
        description="Choose from items that pass a condition on their columns: =, !=, <, <=, >, "
        ">=, in, between, like, is null, and, or, not, brackets.",
    )
    max_per: Annotated[dict[str, _Limit], Field(max_length=MAX_COLUMNS)] = Field(
        {}, description="By column: how many items of a list may have the same value."
    )
    diversity: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(
        0.0, description="0: order of the scores, to 1: items as unlike as they can be."
    )
    show: Annotated[list[str], Field(max_length=MAX_COLUMNS)] = Field(
        [], description="Columns to tell of each item."
    )

    def rules(self) -> dict[str, Any]:
        """All but the number of items, as the arguments of a recommender."""
        names = ("candidates", "exclude_items", "where", "max_per", "diversity", "show")
        return {name: getattr(self, name) for name in names}


class Request(Ruled):
    """Users, and what to recommend to them."""

    histories: Annotated[
        list[Annotated[list[Interaction], Field(max_length=MAX_HISTORY)]],
        Field(min_length=1, max_length=MAX_USERS),
    ] = Field(
        description=f"A list a user, in any order; at most {MAX_INTERACTIONS:,} interactions in "
        f"all. An empty one is answered with what is popular.",
    )
    exclude_seen: StrictBool = Field(True, description="Leave out what the user has taken.")
    explain: StrictBool = Field(
        False,
        description="Tell why each item is recommended, and the part of each modality in each "
        "score, if the model can.",
    )
    at: Annotated[int | None, Field(strict=True, ge=0), WholeFloats] = Field(
        None,
        description="The moment of the request, as the times are given, or a date of ISO 8601; now "
        "where it is left out. "
        "Only a model that reads it (asks_when of /version) takes it.",
    )


class SimilarRequest(Ruled):
    """Items, and how many others are told that are most like each."""

    items: Annotated[list[Token], Field(min_length=1, max_length=MAX_USERS)] = Field(
        description="Items of the run; others have no answer."
    )
    by: Annotated[str, Field(strict=True)] = Field(
        "model",
        description="Whose cosine: model, its rows of items; features; or a modality, as text.",
    )


def similar_model(
    tokens: list[str], *, ways: tuple[str, ...], table: ItemTable
) -> type[SimilarRequest]:
    """The request for similar items of a run.

    Args:
        tokens: Some items of the run.
        ways: What ``by`` may be; all else gets its sentence.
        table: The columns of the items.
    """
    own = SimilarRequest.model_fields
    items: Any = Annotated[list[Token], own["items"]]
    by: Any = Annotated[
        str,
        own["by"],
        WithJsonSchema({"type": "string", "enum": [*ways], "description": own["by"].description}),
    ]
    return create_model(
        "SimilarRequest",
        __base__=SimilarRequest,
        items=(items, Field(examples=[tokens[:1]])),
        by=(by, ways[0]),
        **_rule_fields(SimilarRequest, tokens, table),
    )


def request_model(
    unit: str, tokens: list[str], times: list[int], *, earliest: int | None, table: ItemTable
) -> type[Request]:
    """The request of a run: its schema knows how large a time can be, and names items of the run.

    Larger times are refused where the histories are read, with what to do about them.

    Args:
        unit: ``s`` or ``ms``.
        tokens: Some items of the run.
        times: As many times, in the unit.
        earliest: The first moment that a request may be of; None where no moment is read.
        table: The columns of the items.
    """
    number = {"type": "integer", "minimum": 0, "exclusiveMaximum": TIME_LIMITS[unit]}
    schema = {
        "anyOf": [number, {"type": "string", "format": MOMENT}],
        "description": f"{UNIT_WORDS[unit].capitalize()} since 1970 (UTC), or a date of ISO 8601.",
        "examples": times[:1],
    }
    time: Any = Annotated[int, Field(strict=True, ge=0), _as_time(unit), WithJsonSchema(schema)]
    of_request = Request.model_fields
    item: Any = Annotated[Token, Interaction.model_fields["item"]]
    interaction: Any = create_model(
        "Interaction",
        __base__=Interaction,
        item=(item, Field(examples=tokens[:1])),
        time=(time, ...),
    )
    history = Annotated[list[interaction], Field(max_length=MAX_HISTORY)]
    histories: Any = Annotated[
        list[history], Field(min_length=1, max_length=MAX_USERS), of_request["histories"]
    ]
    took = {"item": tokens[0], "time": times[0]}
    return create_model(
        "Request",
        __base__=Request,
        histories=(histories, Field(examples=[[[took]]])),
        **_rule_fields(Request, tokens, table),
        at=_moment_field(earliest, unit),
    )


def _rule_fields(cls: type[Ruled], tokens: list[str], table: ItemTable) -> dict[str, Any]:
    """The fields of rules whose schema names items and columns of the run.

    All else than these columns gets its sentence.
    """
    own, columns = cls.model_fields, [*table.columns]
    texts = [name for name, column in table.columns.items() if isinstance(column, TextColumn)]
    candidates: Any = Annotated[list[Token] | None, own["candidates"]]
    limits = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"type": "integer", "minimum": 1} for name in texts},
        "description": own["max_per"].description,
    }
    items = {"enum": columns} if columns else {"type": "string"}
    shown = {
        "type": "array",
        "items": items,
        "maxItems": MAX_COLUMNS if columns else 0,
        "description": own["show"].description,
    }
    text = {"type": "string", "maxLength": MOST_LETTERS, "format": CONDITION}
    condition = {
        "anyOf": [text, {"type": "null"}],
        "description": own["where"].description,
        "examples": [f'"{columns[0]}" is not null' if columns else None],
    }
    where: Any = Annotated[str | None, own["where"], WithJsonSchema(condition)]
    max_per: Any = Annotated[dict[str, _Limit], own["max_per"], WithJsonSchema(limits)]
    show: Any = Annotated[list[str], own["show"], WithJsonSchema(shown)]
    return {
        "candidates": (candidates, Field(None, examples=[tokens])),
        "where": (where, None),
        "max_per": (max_per, {}),
        "show": (show, []),
    }


def _moment_field(earliest: int | None, unit: str) -> Any:
    """The field ``at`` of a run: its schema has what is answered, all else gets its sentence."""
    own = Request.model_fields["at"]
    allowed: list[dict[str, Any]] = [{"type": "null"}]
    if earliest is not None:
        number = {"type": "integer", "minimum": earliest, "maximum": TIME_LIMITS[unit] - 1}
        allowed = [number, {"type": "string", "format": MOMENT}, *allowed]
    schema = {"anyOf": allowed, "examples": [earliest], "description": own.description}
    return Annotated[int | None, own, _as_time(unit), WithJsonSchema(schema)], None


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


KnownUntil = Annotated[
    Moment | None,
    Field(description="What the memory of the model knows was known before; none without one."),
]


class Answer(BaseModel):
    """A list a user, in the order of the request."""

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

    items: list[LikeOne]


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
