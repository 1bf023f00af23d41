"""Lists under max_per and diversity: against one user at a time, one item after the other."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.serve import greedy
from recbole_hm4sr.serve.greedy import Limits, Picker, pool_size


def limits_of(values, most):
    """Limits of lists of value numbers."""
    flat = [value for row in values for value in row]
    starts = np.cumsum([0, *map(len, values)])
    return Limits(torch.tensor(flat, dtype=torch.int64), torch.from_numpy(starts), most)


def draw(seed, n_users=4, n_items=40, n_values=5):
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.normal(size=(n_users, n_items))).float()
    scores[torch.from_numpy(random.random((n_users, n_items)) < 0.3)] = -torch.inf
    values = [
        random.choice(n_values, size=random.integers(0, 4), replace=False).tolist()
        for _ in range(n_items)
    ]
    vectors = random.normal(size=(n_items, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    return scores, values, torch.from_numpy(vectors).float()


def oracle(scores, values, most, vectors, diversity, k, pool):
    """The definition, item by item."""
    order = [it for it in np.argsort(-scores, kind="stable") if np.isfinite(scores[it])][:pool]
    if not order:
        return []
    low, high = scores[order[-1]], scores[order[0]]
    chosen, counts = [], dict.fromkeys(range(100), 0)
    while len(chosen) < k:
        best, best_value = None, -np.inf
        for item in order:
            if item in chosen or any(counts[value] >= most[value] for value in values[item]):
                continue
            near = max((float(vectors[item] @ vectors[other]) for other in chosen), default=0.0)
            relevance = (scores[item] - low) / (high - low) if high > low else 0.0
            value = scores[item] if not diversity else (1 - diversity) * relevance
            value -= diversity * near
            if value > best_value:
                best, best_value = item, value
        if best is None:
            break
        chosen.append(best)
        for value in values[best]:
            counts[value] += 1
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("diversity", "is_limited"), [(0.0, True), (0.4, False), (1.0, False), (0.7, True)]
)
def test_lists_are_those_of_the_definition(seed, diversity, is_limited):
    scores, values, vectors = draw(seed)
    most = [1, 2, 3, 1, 2] if is_limited else [100] * 5
    picker = Picker(
        limits_of(values, torch.tensor(most)) if is_limited else None,
        vectors if diversity else None,
        diversity,
    )
    found, items = picker.top(scores, None, 8)
    for user, row in enumerate(scores.double().numpy()):
        wanted = oracle(row, values, most, vectors.double().numpy(), diversity, 8, 100)
        left = torch.isfinite(found[user])
        assert items[user][left].tolist() == wanted
        assert found[user][left].tolist() == scores[user][wanted].tolist()
        assert not left[len(wanted) :].any()


def test_max_per_looks_as_far_down_as_it_must():
    """The first 800 items share a value: a list of two values needs the 801st."""
    n_items = 2000
    assert pool_size(3) < 800
    values = [[0]] * 800 + [[1]] * (n_items - 800)
    scores = -torch.arange(n_items, dtype=torch.float32).expand(2, -1).clone()
    scores[1, 5:] = -torch.inf
    picker = Picker(limits_of([[]] * 10 + values, torch.tensor([2, 1])))
    found, items = picker.top(scores, torch.arange(n_items) + 10, 4)
    assert items.tolist() == [[10, 11, 810, 0], [10, 11, 0, 0]]
    assert torch.isinf(found).tolist() == [[False, False, False, True], [False, False, True, True]]


def test_an_item_counts_under_each_of_its_values():
    values = [[0, 1], [1], [0], []]
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    _, items = Picker(limits_of(values, torch.tensor([2, 1]))).top(scores, None, 4)
    assert items.tolist() == [[0, 2, 3, 0]]


def test_users_are_split_where_their_vectors_would_take_much_memory(monkeypatch):
    scores, values, vectors = draw(9, n_users=5)
    picker = Picker(limits_of(values, torch.tensor([1, 2, 3, 1, 2])), vectors, 0.5)
    whole = picker.top(scores, None, 6)
    monkeypatch.setattr(greedy, "_MOST_VALUES", 1)
    parts = picker.top(scores, None, 6)
    assert torch.equal(whole[1], parts[1])
    assert torch.equal(whole[0], parts[0])


def test_scores_that_are_no_numbers_come_out():
    scores = torch.tensor([[1.0, torch.nan, 0.5]])
    for picker in (
        Picker(vectors=torch.eye(3), diversity=0.5),
        Picker(limits_of([[]] * 3, torch.tensor([1]))),
    ):
        assert torch.isnan(picker.top(scores, None, 2)[0]).any()
