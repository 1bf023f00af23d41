"""What the bodies of every HTTP service have in common, and their limits; pydantic is enough."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recbole_hm4sr.base.errors import ConfigError

MAX_USERS = 1000
MAX_HISTORY = 10_000
MAX_INTERACTIONS = 200_000
MAX_ITEMS = 1000
MAX_CANDIDATES = 100_000
MAX_BODY_BYTES = 16 << 20


def as_whole(value: Any) -> Any:
    """A whole float as an int; all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# To JSON, 5.0 is a whole number; a text or a truth value is none.
WholeFloats = BeforeValidator(as_whole)
Token = Annotated[str, Field(min_length=1, max_length=512, strict=True)]
NumberOfItems = Annotated[
    int,
    Field(strict=True, ge=1, le=MAX_ITEMS, description="Items a list."),
    WholeFloats,
]
Candidates = Annotated[
    list[Token] | None,
    Field(min_length=1, max_length=MAX_CANDIDATES, description="Choose from these items only."),
]
Excluded = Annotated[
    list[Token],
    Field(max_length=MAX_CANDIDATES, description="Leave these out, as those out of stock."),
]


class Body(BaseModel):
    """A body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Interaction(Body):
    """An item that a user took, and when."""

    item: Token = Field(description="An item of the run; others are skipped and counted.")
    time: int


def refuse_many(histories: Sequence[Collection[Any]]) -> None:
    """Refuse what the form of a body cannot: long histories of many users.

    Raises:
        ConfigError: If they hold too many interactions.
    """
    total = sum(map(len, histories))
    if total > MAX_INTERACTIONS:
        raise ConfigError(
            f"histories must hold at most {MAX_INTERACTIONS:,} interactions in all, got {total:,}"
        )
