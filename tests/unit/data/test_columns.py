"""Columns in little memory: the same tokens, lines and numbers as value by value."""

import io

import numpy as np
import pandas as pd
import pytest

from recbole_hm4sr.data.columns import (
    TokenNumbers,
    count_regular_lines,
    gather_columns,
    number_tokens,
)


def regular_lines(block, n_columns):
    """Line by line: the number of lines if all are regular, or 0."""
    lines = list(io.BytesIO(block))
    good = [
        line.endswith(b"\n")
        and line not in (b"\n", b"\r\n")
        and b"\0" not in line
        and line.count(b"\t") == n_columns - 1
        for line in lines
    ]
    return len(lines) if all(good) else 0


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_regular_lines_are_counted_as_line_by_line(n_columns):
    random = np.random.default_rng(n_columns)
    counts = set()
    for _ in range(400):
        cells = [
            [random.choice(["", "a", "bc"], p=[0.1, 0.6, 0.3]) for _ in range(n_columns)]
            for _ in range(random.integers(1, 5))
        ]
        block = "".join("\t".join(row) + "\n" for row in cells).encode()
        if random.random() < 0.6:
            place = random.integers(len(block))
            letter = [b"\t", b"\n", b"\0", b"\r\n", b"x"][random.integers(5)]
            block = block[:place] + letter + block[place:]
        count = count_regular_lines(block, n_columns)
        assert count == regular_lines(block, n_columns), block
        counts.add(count)
    assert {0, 1, 2, 3, 4} <= counts


def test_a_block_that_ends_within_a_line_is_not_regular():
    assert count_regular_lines(b"a\tb\nc\td", 2) == 0
    assert count_regular_lines(b"", 2) == 0


def chunks_of(frame, size):
    return [frame.iloc[begin : begin + size] for begin in range(0, len(frame), size)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_frame_is_the_same_in_chunks_of_any_size(size):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "item": pd.Series(random.choice(["a", "b", "ü"], 50), dtype=object),
            "price": random.random(50),
            "title": pd.Series([f"title {number}" for number in range(50)], dtype=object),
        }
    )
    kinds = {"item": "token", "price": "float", "title": "token_seq"}
    gathered, n_rows = gather_columns(chunks_of(frame, size), kinds, 50)
    assert n_rows == 50
    assert list(gathered) == ["item", "price", "title"]
    assert gathered["item"].tolist() == frame["item"].tolist()
    assert gathered["item"].cat.categories.tolist() == list(dict.fromkeys(frame["item"]))
    assert gathered["price"].tolist() == frame["price"].tolist()
    assert gathered["title"].tolist() == frame["title"].tolist()


@pytest.mark.parametrize("n_rows", [3, 5])
def test_a_number_of_rows_that_was_not_expected_is_told(n_rows):
    frame = pd.DataFrame({"item": pd.Series(list("abcd"), dtype=object)})
    _, seen = gather_columns(chunks_of(frame, 2), {"item": "token"}, n_rows)
    assert seen == 4


@pytest.mark.parametrize("categorical", [True, False])
def test_tokens_are_numbered_as_recbole_numbers_them(categorical):
    random = np.random.default_rng(3)
    names = np.array([f"i{number}" for number in range(40)], dtype=object)
    columns = [random.choice(names[:30], 60), random.choice(names, 20), names[::-1]]
    # RecBole: factorize all columns together, and count from 1.
    codes, tokens = pd.factorize(np.concatenate(columns))
    expected = np.split(codes + 1, np.cumsum([60, 20]))
    given = [pd.Categorical(column, categories=sorted(names)) for column in columns]
    ids, id_token = number_tokens(given if categorical else columns)
    assert all(np.array_equal(one, other) for one, other in zip(ids, expected, strict=True))
    assert [column.dtype for column in ids] == [np.int64] * 3
    assert id_token.tolist() == ["[PAD]", *tokens]


def test_a_missing_token_gets_the_padding_s_number():
    ids, id_token = number_tokens([pd.Categorical(["b", None, "a"])])
    assert ids[0].tolist() == [1, 0, 2]
    assert id_token.tolist() == ["[PAD]", "b", "a"]


def test_numbers_are_found_by_token():
    numbers = TokenNumbers(np.array(["[PAD]", "b", "a"]))
    assert dict(numbers) == {"[PAD]": 0, "b": 1, "a": 2}
    assert numbers["a"] == numbers[np.str_("a")] == 2
    assert len(numbers) == 3
    assert "c" not in numbers
    with pytest.raises(KeyError, match="c"):
        numbers["c"]
