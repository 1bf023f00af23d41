"""Conditions on items: against a plain reading of every item, and refused with the place."""

import math
import re
import string

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.item_table import NumberColumn, TextColumn
from recbole_hm4sr.serve.where import (
    MOST_LETTERS,
    Comparison,
    Every,
    Not,
    Some,
    mask_of,
    parse_where,
)

# One item a row: price, brand, categories.
ITEMS = [
    (10.0, "Nike", ["Shoes", "Sale"]),
    (50.0, "it's", ["Shoes"]),
    (None, None, []),
    (-2.5, "nike", ["Hats", "100%"]),
    (50.0, "B_c", ["Hats", "Shoes", "Sale"]),
]


def text_column(rows, *, is_list):
    names = sorted({value for row in rows for value in row})
    codes = [names.index(value) for row in rows for value in row]
    starts = np.cumsum([0, *map(len, rows)])
    return TextColumn(np.array(names, dtype=object), np.array(codes, dtype=int), starts, is_list)


def columns_of(items):
    return {
        "price": NumberColumn(np.array([math.nan if p is None else p for p, _, _ in items])),
        "brand": text_column([[] if b is None else [b] for _, b, _ in items], is_list=False),
        "categories": text_column([c for _, _, c in items], is_list=True),
    }


def passes(where):
    return np.flatnonzero(mask_of(parse_where(where), columns_of(ITEMS), len(ITEMS))).tolist()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("price < 50", [0, 3]),
        ("price<=50", [0, 1, 3, 4]),
        ("price != 50", [0, 3]),
        ("not price = 50", [0, 2, 3]),
        ("price is null", [2]),
        ("price IS NOT NULL and price > 1e1", [1, 4]),
        ("price between -2.5 and 10", [0, 3]),
        ("price not between -2.5 and 10", [1, 2, 4]),
        ("price in (10, -2.50)", [0, 3]),
        ("brand = 'it''s'", [1]),
        ("brand >= 'a'", [1, 3]),
        ("\"brand\" in ('Nike', 'none')", [0]),
        # a multi-valued column: one value is enough
        ("categories = 'Shoes'", [0, 1, 4]),
        ("categories != 'Shoes'", [0, 3, 4]),
        ("not categories = 'Shoes'", [2, 3]),
        ("categories not in ('Shoes', 'Hats')", [2]),
        ("categories is null", [2]),
        ("categories between 'I' and 'Sb'", [0, 4]),
        # like
        ("brand like 'nike'", [0, 3]),
        ("brand like '%K%'", [0, 3]),
        ("brand like '___'", [4]),
        ("brand like 'b\\_c'", [4]),
        ("categories like '100\\%'", [3]),
        ("brand not like '%i%'", [2, 4]),
        ("brand like 'it''s'", [1]),
        ("categories like '%'", [0, 1, 3, 4]),
        # and binds before or, not before both
        ("price = 10 or price = 50 and brand = 'B_c'", [0, 4]),
        ("(price = 10 or price = 50) and brand = 'B_c'", [4]),
        ("not price = 10 and not brand = 'nike'", [1, 2, 4]),
        ("not (price = 10 or brand = 'nike')", [1, 2, 4]),
    ],
)
def test_conditions_hold_for_the_items_that_are_meant(where, rows):
    assert passes(where) == rows


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("", "character 1: there must be a column, 'not' or '(', got the end"),
        ("price <", "character 8: there must be a number or a text between single quotes, got the"),
        ("price < 50 and", "character 15: there must be a column"),
        ("price < 50 50", "character 12: there must be 'and', 'or' or the end, got 50.0"),
        ("(price < 50", "character 12: there must be ')', got the end"),
        ("price < 'a", "character 9: the quote ' has no end"),
        ("price ; 5", "character 7: got '; 5', which is no word"),
        ("price < 5x", "character 9: got '5x', which is no word"),
        ("price == 5", "character 8: there must be a number or a text between single quotes, got"),
        ("price < 1e999", "character 9: a number must be finite, got 1e999"),
        ("price is 5", "character 10: there must be 'null', got 5.0"),
        ("price in 5", "character 10: there must be '(', got 5.0"),
        ("price in ()", "character 11: there must be a number or a text"),
        ("price not = 5", "character 11: there must be a comparison"),
        ("price between 1 or 2", "character 17: there must be 'and', got 'or'"),
        ("brand like 5", "character 12: there must be a text between quotes, got 5.0"),
        ("  prize < 5", "character 3: the column 'prize' is not kept for serving, but price, "
         "brand, categories; did you mean 'price'?; name it in serve_columns and train the run"),
        ("price < '5'", "character 1: the column 'price' is of numbers, got '5'"),
        ("brand = 5", "character 1: the column 'brand' is of texts, got 5.0"),
        ("price like '5'", "character 1: the column 'price' is of numbers, got '5'"),
        ("__import__('os')", "character 11: there must be a comparison"),
        ("not " * 60 + "price < 5", "character 205: brackets and 'not' must be at most 50 deep"),
        ("(" * 500 + "price < 5" + ")" * 400, "brackets and 'not' must be at most 50 deep"),
        ("x" * (MOST_LETTERS + 1), "must have at most 1,000 characters, got 1,001"),
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_is_refused_with_its_place(where, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        passes(where)


# --- against an oracle --------------------------------------------------------------------------

LETTERS = "aAbB%_' \\é"
TEXTS = st.text(LETTERS, max_size=5)
NUMBERS = st.sampled_from([-1.5, 0.0, 2.0, 1e10])
SIGNS = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def comparisons(draw):
    column = draw(st.sampled_from(["price", "brand", "categories"]))
    literal = NUMBERS if column == "price" else TEXTS
    kind = draw(st.sampled_from([*SIGNS, "in", "between", "null", "like"]))
    if kind == "like" and column == "price":
        kind = "="
    counts = {"in": st.integers(1, 3), "between": st.just(2), "null": st.just(0)}
    literals = [draw(literal) for _ in range(draw(counts.get(kind, st.just(1))))]
    return Comparison(column, 1, kind, tuple(literals))


CONDITIONS = st.recursive(
    comparisons(),
    lambda parts: st.one_of(
        parts.map(Not),
        st.lists(parts, min_size=2, max_size=3).map(lambda it: Every(tuple(it))),
        st.lists(parts, min_size=2, max_size=3).map(lambda it: Some(tuple(it))),
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.tuples(st.none() | NUMBERS, st.none() | TEXTS, st.lists(TEXTS, max_size=3, unique=True)),
    min_size=1,
    max_size=6,
)


def quoted(literal):
    return "'" + literal.replace("'", "''") + "'" if isinstance(literal, str) else repr(literal)


def written(condition):
    """The condition as text, every part in brackets."""
    if isinstance(condition, Not):
        return f"not ({written(condition.part)})"
    if isinstance(condition, Every | Some):
        word = " AND " if isinstance(condition, Every) else " or "
        return word.join(f"({written(part)})" for part in condition.parts)
    literals = [*map(quoted, condition.literals)]
    rest = {
        "in": f"in ({','.join(literals)})",
        "between": f"Between {' and '.join(literals)}",
        "null": "is null",
    }
    return f"{condition.column} {rest.get(condition.kind, ' '.join([condition.kind, *literals]))}"


def fits(pattern, text):
    """``like``, letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(fits(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "\\" and len(pattern) > 1:
        return pattern[1].lower() == text[0].lower() and fits(pattern[2:], text[1:])
    return pattern[0] in ("_", text[0].lower(), text[0].upper()) and fits(pattern[1:], text[1:])


def holds(condition, item):
    """One condition of one item, in plain Python."""
    if isinstance(condition, Not):
        return not holds(condition.part, item)
    if isinstance(condition, Every):
        return all(holds(part, item) for part in condition.parts)
    if isinstance(condition, Some):
        return any(holds(part, item) for part in condition.parts)
    price, brand, categories = item
    single = {"price": price, "brand": brand}.get(condition.column)
    values = categories if condition.column == "categories" else [single]
    values = [value for value in values if value is not None]
    if condition.kind == "null":
        return not values
    literals = condition.literals
    tests = {
        "in": lambda value: value in literals,
        "between": lambda value: literals[0] <= value <= literals[1],
        "like": lambda value: fits(literals[0], value),
    }
    test = tests.get(condition.kind, lambda value: SIGNS[condition.kind](value, literals[0]))
    return any(map(test, values))


@settings(max_examples=300)
@given(CONDITIONS, ROWS)
def test_every_condition_says_what_a_plain_reading_says(condition, items):
    text = written(condition)
    if len(text) > MOST_LETTERS:
        return
    found = mask_of(parse_where(text), columns_of(items), len(items))
    assert found.tolist() == [holds(condition, item) for item in items], text


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["price", "brand", "and", "or", "not", "(", ")", "=", "<", "in", "between", "is",
             "null", "like", "5", "'a'", ",", "''", '"', "'", "\\", "\u0130", " "]
        ),
        max_size=12,
    ).map(" ".join)
    | st.text(string.printable + "éß\u0130\0", max_size=20)
)  # fmt: skip
@example("'")
@example('"')
def test_any_text_is_a_condition_or_one_sentence(text):
    sentence = ""
    try:
        mask_of(parse_where(text), columns_of(ITEMS), len(ITEMS))
    except ConfigError as error:
        sentence = str(error)
    assert not sentence or re.match(r"where(, character \d+:)? ", sentence)


def test_a_pattern_of_many_wildcards_takes_no_longer_than_its_letters():
    """A backtracking reading of this pattern would look at more than 10^40 choices."""
    items = [(1.0, "a" * 200, [])]
    where = f"brand like '{'%a' * 199}%b'"
    assert not mask_of(parse_where(where), columns_of(items), 1).any()
