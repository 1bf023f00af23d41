"""What the HTTP service takes, with its limits."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema, create_model

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.item_table import ItemTable, TextColumn
from recbole_hm4sr.data.times import TIME_LIMITS, UNIT_WORDS
from recbole_hm4sr.serve.body_parts import (
    MAX_HISTORY,
    MAX_INTERACTIONS,
    MAX_USERS,
    Body,
    Candidates,
    Excluded,
    Interaction,
    NumberOfItems,
    Token,
    WholeFloats,
    as_whole,
)
from recbole_hm4sr.serve.history_times import read_moment
from recbole_hm4sr.serve.where import MOST_LETTERS

MAX_COLUMNS = 20
# Of schemas: a date from 1970 on that is no earlier than what a request may be of.
MOMENT = "moment"
# And a condition that is of the grammar and on columns of the run.
CONDITION = "where"


def _as_time(unit: str) -> BeforeValidator:
    """Whole floats and dates as numbers of a unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return as_whole(value)
        try:
            return read_moment(value, unit)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


_Limit = Annotated[int, Field(strict=True, ge=1), WholeFloats]


class Ruled(Body):
    """How many items a list has, and what may be in it."""

    k: NumberOfItems = 10
    candidates: Candidates = None
    exclude_items: Excluded = Field([])
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
