"""Typed settings: frozen dataclasses built from plain values, with every problem in one error.

A settings class is a frozen dataclass whose field names are the names of settings and whose types
are ``int``, ``float``, ``bool``, ``str``, ``Literal``, ``tuple[X, ...]``, ``dict[K, V]`` and unions
of these. Its optional method ``problems()`` returns a sentence for each value that is out of range.
"""

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from recbole_hm4sr.base.errors import ConfigError

Settings = TypeVar("Settings")

# "id" is the stream of the item ids; the others are attributes of torch's ModuleDict.
_RESERVED_MODALITIES = frozenset({"id", "keys", "values", "items", "pop", "clear", "update"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What this package adds to RecBole's description of a data set.

    Attributes:
        modalities: Modality name to the source of its item features: ``auto`` (the first that
            exists of the next three), ``npz`` (``<dataset>.<modality>.npz``), ``item`` (a
            float_seq column of that name in the ``.item`` file), ``side`` (the same in the atomic
            file ``<dataset>.<modality>``) or ``tfidf-svd`` (made from ``text_fields`` on first
            use and kept in the user's cache).
        text_fields: Columns of the ``.item`` file that ``tfidf-svd`` reads.
        missing_features: What to do with items that have no row of a modality.
        timestamp_unit: Unit of the time column: seconds or milliseconds since the epoch, UTC.
        tie_order: Order of a user's interactions of equal time: the file's, or random by the seed.
        same_visit_gap: The longest time between two interactions of one visit, in seconds; 0 for
            equal times alone. ``eval_args.targets: visits`` reads it.
        category_field: Column of the ``.item`` file that holds an item's categories; null for
            none.
        generated: True if the data set is generated; said wherever its results show.
    """

    modalities: dict[str, str]
    text_fields: tuple[str, ...]
    missing_features: Literal["error", "zero"]
    timestamp_unit: Literal["s", "ms"]
    tie_order: Literal["file", "shuffle"]
    same_visit_gap: float
    category_field: str | None
    generated: bool

    _SOURCES: typing.ClassVar = ("auto", "item", "npz", "side", "tfidf-svd")

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        found = require(
            0 <= self.same_visit_gap < float("inf"),
            "same_visit_gap must be 0 or more",
            self.same_visit_gap,
        )
        for name, source in self.modalities.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _RESERVED_MODALITIES:
                found.append(
                    f"a modality's name must be lower-case letters, digits and _, and none of "
                    f"{', '.join(sorted(_RESERVED_MODALITIES))}, got {name!r}"
                )
            if source not in self._SOURCES:
                found.append(
                    f"the source of modality {name!r} must be one of "
                    f"{', '.join(self._SOURCES)}, got {source!r}"
                )
            if source == "tfidf-svd" and not self.text_fields:
                found.append(
                    f"text_fields must name at least one column of the .item file, since modality "
                    f"{name!r} is made from text"
                )
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of a run that neither RecBole nor a model has.

    Attributes:
        n_threads: CPU threads torch may use; 0 leaves torch's own choice.
        process_timeout: Seconds that a process of ``torchrun`` waits for the others before it ends
            with an error.
        rank_history: Whether a user's own history stays among the candidates when a target is
            ranked: ``include`` as in RecBole and the paper, ``exclude`` as a shop shows. Results
            give both; this one chooses the best epoch.
        trim_padding: Whether models of RecBole leave most of the padding of a batch out, where that
            changes rounding only (``model/trimming.py``).
        amp_dtype: What ``enable_amp`` computes in: ``bfloat16``, or ``float16`` with a scaled loss.
    """

    n_threads: int
    process_timeout: float
    rank_history: Literal["include", "exclude"]
    trim_padding: bool
    amp_dtype: Literal["bfloat16", "float16"]

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        return [
            *require(self.n_threads >= 0, "n_threads must be 0 or more", self.n_threads),
            *require(self.n_threads <= 1024, "n_threads must be at most 1024", self.n_threads),
            *require(
                self.process_timeout > 0, "process_timeout must be above 0", self.process_timeout
            ),
        ]


def require(condition: bool, rule: str, value: object) -> list[str]:  # noqa: FBT001
    """One sentence if a rule is broken, for the ``problems`` method of a settings class."""
    return [] if condition else [f"{rule}, got {value!r}"]


def read_settings(config: Any, cls: type[Settings]) -> Settings:
    """The part of a configuration that one settings dataclass describes.

    Args:
        config: RecBole ``Config``, or any mapping.
        cls: Frozen dataclass whose fields are names of settings. Its optional method
            ``problems()`` returns a sentence for each value out of range.

    Returns:
        An instance of ``cls``.

    Raises:
        ConfigError: If values are missing, of the wrong type or out of range; one error for all.
    """
    values = {
        field.name: config[field.name]
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.name in config
    }
    settings, found = build_settings(values, cls)
    if found:
        raise ConfigError("; ".join(found))
    return typing.cast(Settings, settings)


def build_settings(values: Mapping[str, Any], cls: Any) -> tuple[Any, list[str]]:
    """An instance of a settings class (None if it cannot be built), and what is wrong."""
    hints = typing.get_type_hints(cls)
    found, given = [], {}
    for field in dataclasses.fields(cls):
        if field.name not in values:
            found.append(f"{field.name} is missing: {type_in_words(hints[field.name])}")
            continue
        fits, value = convert(values[field.name], hints[field.name])
        if not fits:
            expected = type_in_words(hints[field.name])
            found.append(f"{field.name} must be {expected}, got {values[field.name]!r}")
        given[field.name] = value
    if found:
        return None, found
    settings = cls(**given)
    return settings, settings.problems() if hasattr(settings, "problems") else []


def convert(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a YAML value fits a type, and the value as that type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            fits, converted = convert(value, option)
            if fits:
                return True, converted
        return False, None
    if origin is Literal:
        # Of one type, since True equals 1.
        return any(type(value) is type(it) and value == it for it in arguments), value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False, None
        pairs = [convert(item, arguments[0]) for item in value]
        return all(fits for fits, _ in pairs), tuple(item for _, item in pairs)
    if origin is dict:
        fits = isinstance(value, dict) and all(
            convert(k, arguments[0])[0] and convert(v, arguments[1])[0] for k, v in value.items()
        )
        return fits, dict(value) if fits else None
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # A whole number of more than 308 digits is none that float64 can hold.
        number = number and abs(value) <= sys.float_info.max
        return number, float(value) if number else None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def type_in_words(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(option) for option in arguments)
    if origin is tuple:
        return f"a list, each entry {type_in_words(arguments[0])}"
    if origin is dict:
        return f"a mapping from {type_in_words(arguments[0])} to {type_in_words(arguments[1])}"
    return "null" if hint is type(None) else _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
