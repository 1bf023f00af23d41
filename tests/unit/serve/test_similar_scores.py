"""Cosines of similar items are cosines, whatever rows of half precision multiply to."""

from types import SimpleNamespace

import numpy as np
import torch

from recbole_hm4sr.serve.rules import Rules
from recbole_hm4sr.serve.similar import find_similar


class Items(SimpleNamespace):
    """The items of a run, by their rows; the first is padding."""

    def __len__(self):
        return len(self.tokens)


def items_of(rows):
    tokens = np.array(["[PAD]", "A", "B", "C", "D"], dtype=object)
    return Items(
        tokens=tokens,
        require=lambda show: None,
        named=lambda asked, what: np.array([tokens.tolist().index(it) for it in asked]),
        vectors=lambda by: torch.tensor(rows, dtype=torch.float16),
        choose=lambda rules: SimpleNamespace(size=lambda n: n, top=torch.topk),
        details=lambda show, found: {},
    )


def test_no_cosine_is_above_one_or_below_minus_one():
    # 0.6001 and 0.8003 of half precision: 0.36 + 0.64 = 1.0004 with themselves.
    row = [0.60009765625, 0.80029296875]
    items = items_of([[0, 0], row, row, [-it for it in row], [0, 0]])
    assert np.float32(row[0] ** 2 + row[1] ** 2) > 1.0004
    found = find_similar(items, ["A"], 3, by="text", rules=Rules())
    assert found.items[0, :2].tolist() == ["B", "C"]
    assert found.scores[0, :2].tolist() == [1, -1]
    assert np.isnan(found.scores[0, 2])  # D has no row
