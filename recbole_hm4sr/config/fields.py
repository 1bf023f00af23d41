"""What a setting is made of: its type and range, its default, its sentence, its roles.

A field of a settings class says all of it at one place::

    hidden_size: Count = setting(64, "Width of every token.")
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import pydantic
from pydantic_core import PydanticCustomError, core_schema

Role: TypeAlias = Literal["machine", "flag only", "protocol", "fixed in a search", "free on resume"]
"""What else is known of a setting.

``machine``: no result depends on it. ``flag only``: it names a place to write outside the run's
folder, so that no file may set it. ``protocol``: the same for all models of a comparison and all
trials of a search. ``fixed in a search``: a choice among its values would be one among accidents.
``free on resume``: it may change while a run lasts.
"""

STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False)

_T = TypeVar("_T")


def setting(default: Any, sentence: str, *roles: Role, refused: str = "") -> Any:
    """A field of a settings class.

    Args:
        default: Its default, as YAML has it: a list for a tuple. ``...`` asks for a value.
        sentence: What it is, in one sentence; ``hm4sr settings`` shows it.
        *roles: See :data:`Role`.
        refused: Why nobody may set it, and what to do in its place.
    """
    return pydantic.Field(
        default, description=sentence, json_schema_extra={"roles": [*roles], "refused": refused}
    )


@dataclasses.dataclass(frozen=True)
class Rule:
    """A range that no bound says.

    Attributes:
        words: What a value must be, after "must be".
        holds: Whether a value is; by default all are, since another place checks them.
    """

    words: str
    holds: Callable[[Any], bool] = lambda _: True

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """The schema of the type, and the rule after it."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("rule", "must be {words}", {"words": self.words})
        return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Count: TypeAlias = Annotated[int, pydantic.Field(ge=1)]
Whole: TypeAlias = Annotated[int, pydantic.Field(ge=0)]
Layers: TypeAlias = Annotated[int, pydantic.Field(ge=0, le=1000)]
MAX_SEED = 2**32 - 1  # of NumPy
Seed: TypeAlias = Annotated[int, pydantic.Field(ge=0, le=MAX_SEED)]
Share: TypeAlias = Annotated[float, pydantic.Field(ge=0, le=1)]
Dropout: TypeAlias = Annotated[float, pydantic.Field(ge=0, lt=1)]
Weight: TypeAlias = Annotated[float, pydantic.Field(ge=0)]
Positive: TypeAlias = Annotated[float, pydantic.Field(gt=0)]
Many: TypeAlias = Annotated[tuple[_T, ...], pydantic.BeforeValidator(_as_tuple)]


def fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits a type: a whole number is a number, and true is no number."""
    try:
        _adapter(hint).validate_python(value)
    except pydantic.ValidationError:
        return False
    return True


@functools.cache
def _adapter(hint: Any) -> Any:
    return pydantic.TypeAdapter(hint, config=STRICT)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def type_in_words(hint: Any) -> str:
    """A type in words, without its range."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return type_in_words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in arguments)
    if origin in (tuple, list):
        entries = type_in_words(arguments[0])
        return f"a list, each entry {entries}" if entries else "a list"
    if origin is dict:
        key, value = map(type_in_words, arguments)
        return f"a mapping from {key} to {value}" if value else "a mapping"
    if hint is Any:
        return ""
    return "null" if hint in (None, type(None)) else _WORDS.get(hint, str(hint))


_RANGES = {
    ("ge",): "{ge} or more",
    ("gt",): "above {gt}",
    ("le",): "at most {le}",
    ("lt",): "below {lt}",
    ("ge", "le"): "from {ge} to {le}",
    ("ge", "lt"): "in [{ge}, {lt})",
    ("gt", "le"): "in ({gt}, {le}]",
    ("gt", "lt"): "in ({gt}, {lt})",
}


def range_in_words(metadata: typing.Iterable[Any]) -> str:
    """The range of a field in words, from what its type is annotated with; empty for none."""
    bounds: dict[str, Any] = {}
    for part in metadata:
        if isinstance(part, Rule):
            return part.words
        found = {name: getattr(part, name, None) for name in ("ge", "gt", "le", "lt")}
        bounds |= {name: bound for name, bound in found.items() if bound is not None}
    if bounds == {"ge": 0, "le": 1}:
        return "in [0, 1]"
    return _RANGES.get(tuple(sorted(bounds)), "").format(**bounds)


def field_in_words(field: Any) -> str:
    """Type and range of a field of a settings class: ``a whole number, 1 or more``."""
    kind, bounds = type_in_words(field.annotation), range_in_words(field.metadata)
    if any(isinstance(part, Rule) for part in field.metadata):
        return bounds
    return ", ".join(part for part in (kind, bounds) if part)
