"""Conditions on items, as ``price < 50 and (brand = 'Nike' or title like '%shoe%')``.

A grammar of its own, parsed to NumPy masks; nothing is evaluated as code::

    condition = both { "or" both }
    both      = one { "and" one }
    one       = "not" one | "(" condition ")" | column test
    test      = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) literal
              | [ "not" ] "in" "(" literal { "," literal } ")"
              | [ "not" ] "between" literal "and" literal
              | [ "not" ] "like" text
              | "is" [ "not" ] "null"
    literal   = number | text

A text stands between single quotes, in which two of them are one. A column is a plain name, or any
name between double quotes. Keywords may be in any case. In the text of ``like`` a ``%`` is any text
and a ``_`` one character, a backslash takes the next as it is, and case does not matter.

A test holds for an item if it holds for one of its values; an item without a value passes none but
``is null``. ``not`` turns the whole answer over, ``not in``, ``not between`` and ``not like`` too.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import near_miss
from recbole_hm4sr.data.item_table import Column, NumberColumn, TextColumn

Array = np.ndarray[Any, Any]
MOST_LETTERS = 1000
_MOST_LEVELS = 50  # of brackets and "not"; far below what Python's stack holds
_KEYWORDS = frozenset({"and", "or", "not", "in", "between", "like", "is", "null"})
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | '(?P<text>(?:[^']|'')*)'
      | "(?P<quoted>[^"]+)"
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>!=|<=|>=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda values, literal: values == literal,
    "!=": lambda values, literal: values != literal,
    "<": lambda values, literal: values < literal,
    "<=": lambda values, literal: values <= literal,
    ">": lambda values, literal: values > literal,
    ">=": lambda values, literal: values >= literal,
}
Literal = float | str


@dataclass(frozen=True)
class Comparison:
    """What is asked of one column.

    Attributes:
        column: Its name.
        position: Where the name stands, from 1.
        kind: A sign, ``in``, ``between``, ``like`` or ``null``.
        literals: What its values are compared with; empty for ``null``.
    """

    column: str
    position: int
    kind: str
    literals: tuple[Literal, ...] = ()


@dataclass(frozen=True)
class Not:
    """What holds where its part does not."""

    part: "Condition"


@dataclass(frozen=True)
class Every:
    """What holds where all parts do."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True)
class Some:
    """What holds where one part does."""

    parts: "tuple[Condition, ...]"


Condition = Comparison | Not | Every | Some


def parse_where(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ConfigError: If it is too long or breaks the grammar; the message says at which character.
    """
    if len(text) > MOST_LETTERS:
        raise ConfigError(f"where must have at most {MOST_LETTERS:,} characters, got {len(text):,}")
    parser = _Parser(_split(text), len(text) + 1)
    condition = parser.condition(0)
    parser.end()
    return condition


def mask_of(condition: Condition, columns: Mapping[str, Column], n_items: int) -> Array:
    """Which items pass a condition.

    Args:
        condition: Of :func:`parse_where`.
        columns: By name; their rows are items.
        n_items: I.

    Returns:
        Shape ``[I]``, bool.

    Raises:
        ConfigError: If it names another column, or compares numbers with texts; the message says
            at which character.
    """
    if isinstance(condition, Not):
        return ~mask_of(condition.part, columns, n_items)
    if isinstance(condition, Comparison):
        return _test(condition, columns)
    join = np.logical_and if isinstance(condition, Every) else np.logical_or
    whole: Array = join.reduce([mask_of(part, columns, n_items) for part in condition.parts])
    return whole


def find_column(columns: Mapping[str, Column], name: str, where: str) -> Column:
    """A column by its name.

    Args:
        columns: Those that there are.
        name: Of the column.
        where: What names it, for messages.

    Raises:
        ConfigError: If there is none of the name; the message names those that there are.
    """
    if name not in columns:
        kept = ", ".join(columns) or "none"
        raise ConfigError(
            f"{where}: the column {name!r} is not kept for serving, but {kept}"
            f"{near_miss(name, columns)}; name it in serve_columns and train the run anew"
        )
    return columns[name]


def _test(test: Comparison, columns: Mapping[str, Column]) -> Array:
    where = f"where, character {test.position}"
    column = find_column(columns, test.column, where)
    if test.kind == "null":
        return ~column.filled()
    is_number = isinstance(column, NumberColumn)
    for literal in test.literals:
        if isinstance(literal, str) == is_number:
            kind = "numbers" if is_number else "texts"
            raise ConfigError(f"{where}: the column {test.column!r} is of {kind}, got {literal!r}")
    if isinstance(column, NumberColumn):
        if test.kind == "like":
            raise ConfigError(
                f"{where}: like must be asked of texts, but the column {test.column!r} is of "
                f"numbers"
            )
        return column.filled() & _holds(test, column.values)
    assert isinstance(column, TextColumn)
    if test.kind == "like":
        pattern = _Pattern(str(test.literals[0]))
        return column.rows_with(np.array([*map(pattern.fits, column.names)], dtype=bool))
    return column.rows_with(_holds(test, column.names))


def _holds(test: Comparison, values: Array) -> Array:
    """Which values pass a test. Shape ``[V]``, bool."""
    literals: Any = test.literals
    if test.kind == "between":
        return np.asarray((values >= literals[0]) & (values <= literals[1]), dtype=bool)
    if test.kind == "in":
        equal = [np.asarray(values == literal, dtype=bool) for literal in literals]
        return np.logical_or.reduce(equal)
    return np.asarray(_COMPARE[test.kind](values, literals[0]), dtype=bool)


class _Pattern:
    """A pattern of ``like``: ``%`` is any text, ``_`` one character, a backslash takes one as is.

    Upper and lower case are the same. The texts between two ``%`` are found one behind the other,
    each where it comes first. No other choice can fit where that does not, so that no pattern takes
    longer than letters times letters.
    """

    def __init__(self, pattern: str) -> None:
        parts = [""]
        for escaped, letter in re.findall(r"\\(.)|(.)", pattern, re.DOTALL):
            if letter == "%":
                parts.append("")
            else:
                parts[-1] += "." if letter == "_" else re.escape(escaped or letter)
        self._first, self._rest = _compile(parts[0]), [*map(_compile, parts[1:])]

    def fits(self, text: str) -> bool:
        """Whether a whole text has the pattern."""
        if not self._rest:
            return self._first.fullmatch(text) is not None
        found = self._first.match(text)
        for part in self._rest[:-1]:
            if found is None:
                return False
            found = part.search(text, found.end())
        if found is None:
            return False
        # Each part has a fixed number of letters, so that the last can only begin here.
        last = self._rest[-1]
        begin = len(text) - _width(last.pattern)
        return begin >= found.end() and last.fullmatch(text, begin) is not None


def _compile(part: str) -> "re.Pattern[str]":
    return re.compile(part, re.DOTALL | re.IGNORECASE)


def _width(part: str) -> int:
    """Letters that a part without ``%`` stands for."""
    return len(re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL))


class _Word(NamedTuple):
    kind: str
    value: Any
    position: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind == "end" else repr(self.value)


def _split(text: str) -> list[_Word]:
    words, place = [], 0
    end = len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            rest = text[place:].lstrip()
            at = len(text) - len(rest) + 1
            if rest[0] in "'\"":
                raise ConfigError(f"where, character {at}: the quote {rest[0]} has no end")
            raise ConfigError(f"where, character {at}: got {rest[:10]!r}, which is no word")
        kind = str(found.lastgroup)
        words.append(_word(kind, found[kind], found.start(kind) + 1))
        place = found.end()
    return words


def _word(kind: str, value: str, position: int) -> _Word:
    if kind == "number":
        number = float(value)
        if not math.isfinite(number):
            raise ConfigError(
                f"where, character {position}: a number must be finite, got {value[:20]}"
            )
        return _Word("literal", number, position)
    if kind == "text":
        return _Word("literal", value.replace("''", "'"), position - 1)
    if kind == "quoted":
        return _Word("column", value, position - 1)
    if kind == "word" and value.lower() in _KEYWORDS:
        return _Word(value.lower(), value, position)
    return _Word("column" if kind == "word" else value, value, position)


class _Parser:
    """Takes words from the left; each method takes what its line of the grammar says."""

    def __init__(self, words: Sequence[_Word], end: int) -> None:
        self._words, self._next = [*words, _Word("end", "", end)], 0

    def condition(self, level: int) -> Condition:
        parts = [self._both(level)]
        while self._took("or"):
            parts.append(self._both(level))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def end(self) -> None:
        if self._word.kind != "end":
            raise self._wrong("'and', 'or' or the end")

    @property
    def _word(self) -> _Word:
        return self._words[self._next]

    def _both(self, level: int) -> Condition:
        parts = [self._one(level)]
        while self._took("and"):
            parts.append(self._one(level))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _one(self, level: int) -> Condition:
        if level > _MOST_LEVELS:
            raise ConfigError(
                f"where, character {self._word.position}: brackets and 'not' must be at most "
                f"{_MOST_LEVELS} deep"
            )
        if self._took("not"):
            return Not(self._one(level + 1))
        if self._took("("):
            inner = self.condition(level + 1)
            self._need(")")
            return inner
        return self._column_test()

    def _column_test(self) -> Condition:
        if self._word.kind != "column":
            raise self._wrong("a column, 'not' or '('")
        column = self._take()
        at = (column.value, column.position)
        if self._word.kind in _COMPARE:
            return Comparison(*at, self._take().kind, (self._literal(),))
        if self._took("is"):
            is_filled = self._took("not")
            self._need("null")
            test: Condition = Comparison(*at, "null")
            return Not(test) if is_filled else test
        is_not = self._took("not")
        test = Comparison(*at, *self._set_test())
        return Not(test) if is_not else test

    def _set_test(self) -> tuple[str, tuple[Literal, ...]]:
        if self._took("in"):
            self._need("(")
            literals = [self._literal()]
            while self._took(","):
                literals.append(self._literal())
            self._need(")")
            return "in", tuple(literals)
        if self._took("between"):
            low = self._literal()
            self._need("and")
            return "between", (low, self._literal())
        if self._took("like"):
            if not isinstance(self._word.value, str):
                raise self._wrong("a text between quotes")
            return "like", (self._literal(),)
        raise self._wrong("a comparison (=, !=, <, <=, >, >=, in, between, like or is null)")

    def _literal(self) -> Literal:
        if self._word.kind != "literal":
            raise self._wrong("a number or a text between single quotes")
        literal: Literal = self._take().value
        return literal

    def _take(self) -> _Word:
        self._next += 1
        return self._words[self._next - 1]

    def _took(self, kind: str) -> bool:
        is_next = self._word.kind == kind
        self._next += is_next
        return is_next

    def _need(self, kind: str) -> None:
        if not self._took(kind):
            raise self._wrong(repr(kind))

    def _wrong(self, expected: str) -> ConfigError:
        word = self._word
        return ConfigError(
            f"where, character {word.position}: there must be {expected}, got {word.shown}"
        )
