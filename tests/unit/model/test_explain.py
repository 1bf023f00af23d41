"""The reason of a recommendation: the rule against a plain loop, on models of known parts."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.model.explain import (
    HISTORY,
    MEMORY,
    NONE,
    POPULARITY,
    WHOLE_HISTORY,
    find_reasons,
    median_items,
)
from recbole_hm4sr.model.left_out import history_items

N_ITEMS = 12
HISTORIES = [[3, 5, 3, 7], [2], [9, 9], [1, 2, 4, 6]]
LENGTH = 5


def histories_of(batch):
    """Items of each history, without padding."""
    pairs = zip(batch["item_list"].tolist(), batch["length"].tolist(), strict=True)
    return [history[:length] for history, length in pairs]


class ScoredByHand:
    """Dense: a sum over the items of the history times one over its length. Memory: by position."""

    ITEM_ID, ITEM_SEQ, ITEM_SEQ_LEN = "item", "item_list", "length"

    def __init__(self, *, memory=False, dense=True, text=None):
        random = torch.Generator().manual_seed(2)
        self.dense = torch.randn(N_ITEMS, N_ITEMS, generator=random).double() * dense
        self.memory = torch.rand(N_ITEMS, N_ITEMS, generator=random).double() if memory else None
        if text is not None:
            self.modalities, self.part_names, self.text = ("text",), ("id", "text"), text
            self.score_parts = self._parts

    def full_sort_predict(self, batch):
        rows = histories_of(batch)
        assert all(0 not in row and row for row in rows)
        scores = torch.stack([self.dense[row].sum(0) / len(row) for row in rows])
        if self.memory is not None:
            scores += torch.stack([self._weighed(row).sum(0) for row in rows])
        return scores + getattr(self, "text", 0)

    def _weighed(self, row):
        return torch.stack([0.6**h * self.memory[item] for h, item in enumerate(row[::-1])])

    def _parts(self, batch, items):
        whole = self.full_sort_predict(batch).gather(1, items)
        text = self.text[items]
        return torch.stack([whole - text, text], dim=2)


class WithMemory(ScoredByHand):
    """Tells its memory apart; it reads the last two items alone."""

    def history_parts(self, batch, items):
        found = torch.zeros(*items.shape, 2, dtype=torch.float64)
        for row, n in enumerate(batch["length"].tolist()):
            own = self._weighed(batch["item_list"][row, :n].tolist())[:2]
            found[row, :, : len(own)] = own[:, items[row]].T
        return found

    def dense_scores(self, batch, items):
        whole = self.full_sort_predict(batch).gather(1, items)
        rows = histories_of(batch)
        memory = torch.stack([self._weighed(row).sum(0) for row in rows])
        return whole - memory.gather(1, items)


def batch_of(histories):
    items = torch.zeros(len(histories), LENGTH, dtype=torch.int64)
    for row, history in enumerate(histories):
        items[row, : len(history)] = torch.tensor(history)
    times = torch.where(items > 0, items * 100, 0)
    lengths = torch.tensor([len(history) for history in histories])
    return Interaction({"item_list": items, "time_list": times, "length": lengths})


def expected(model, histories, items, memory_reach=0):
    """Reason of each item by loops over the histories."""
    found = []
    for history, wanted in zip(histories, items.tolist(), strict=True):
        scores = model.full_sort_predict(batch_of([history]))[0].numpy()
        middle = int(np.argsort(scores[1:], kind="stable")[(N_ITEMS - 2) // 2]) + 1
        dense = np.asarray(model.dense)[history].sum(0) / len(history)
        for item in wanted:
            offers = []
            for x in sorted(set(history)):
                rest = [other for other in history if other != x]
                own = np.asarray(model.dense)
                lost = dense[item] - (own[rest].sum(0) / len(rest))[item] if rest else (
                    dense[item] - dense[middle]
                )  # fmt: skip
                offers.append((lost, HISTORY, x))
                steps = [h for h, other in enumerate(history[::-1]) if other == x]
                added = sum(
                    0.6**h * float(model.memory[x, item]) for h in steps if h < memory_reach
                )
                offers.append((added, MEMORY, x))
            value, kind, x = max(offers)
            lift = scores[item] - scores[middle]
            if lift <= 0:
                found.append((NONE, 0, None))
            elif value > 0.1 * lift:
                found.append((kind, x, value / lift))
            else:
                found.append((WHOLE_HISTORY, 0, None))
    return found


def reasons_of(model, histories, items, **options):
    batch = batch_of(histories)
    scores = model.full_sort_predict(batch)
    found = find_reasons(
        model, batch, items, scores.gather(1, items), median_items(scores), **options
    )
    assert batch["length"].tolist() == [len(history) for history in histories]
    flat = zip(found.kinds.flat, found.items.flat, found.shares.flat, strict=True)
    return [(kind, item, None if np.isnan(share) else share) for kind, item, share in flat]


EVERY = torch.arange(1, N_ITEMS).expand(len(HISTORIES), -1)


def assert_same(found, wanted):
    assert [reason[:2] for reason in found] == [reason[:2] for reason in wanted]
    for (_, _, share), (_, _, other) in zip(found, wanted, strict=True):
        assert (share is None) == (other is None)
        assert share is None or share == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("n_rows", [1, 3, 128])
def test_the_item_whose_removal_lowers_the_score_most_is_named(n_rows):
    model = ScoredByHand()
    wanted = expected(ScoredByHandWithZeros(model), HISTORIES, EVERY)
    assert_same(reasons_of(model, HISTORIES, EVERY, n_rows=n_rows), wanted)
    assert {HISTORY, NONE} <= {kind for kind, _, _ in wanted}


class ScoredByHandWithZeros:
    """As the model, with a memory of nothing for the loop."""

    def __init__(self, model):
        self.dense, self.full_sort_predict = model.dense, model.full_sort_predict
        self.memory = torch.zeros(N_ITEMS, N_ITEMS)


def test_the_larger_of_memory_and_removal_is_named():
    model = WithMemory(memory=True)
    wanted = expected(model, HISTORIES, EVERY, memory_reach=2)
    assert_same(reasons_of(model, HISTORIES, EVERY), wanted)
    assert {HISTORY, MEMORY, NONE} <= {kind for kind, _, _ in wanted}


def test_an_item_below_a_tenth_gives_way_to_the_modality():
    text = torch.linspace(0, 5e4, N_ITEMS).double()
    several = [history for history in HISTORIES if len(set(history)) > 1]
    found = reasons_of(ScoredByHand(text=text), several, EVERY[: len(several)])
    # The text decides all: the last five of eleven items are above the sixth.
    assert [kind for kind, _, _ in found] == ([NONE] * 6 + ["text"] * 5) * 2
    assert all(share == pytest.approx(1, rel=1e-3) for kind, _, share in found if kind == "text")
    assert all(item == 0 for _, item, _ in found)


def test_where_nothing_single_decides_it_is_the_whole_history():
    class Steady(ScoredByHand):
        def full_sort_predict(self, batch):
            return torch.arange(N_ITEMS).double().expand(len(batch["length"]), -1)

    found = reasons_of(Steady(), [[3, 5]], torch.tensor([[11, 6, 2]]))
    assert found == [(WHOLE_HISTORY, 0, None), (NONE, 0, None), (NONE, 0, None)]


def test_what_is_the_same_for_all_is_popularity():
    class Popular(ScoredByHand):
        def full_sort_predict(self, batch):
            return torch.arange(N_ITEMS).double().expand(len(batch["length"]), -1)

        def history_parts(self, batch, items):
            return torch.zeros(*items.shape, 0)

        def dense_scores(self, batch, items):
            return None

    assert reasons_of(Popular(), [[3]], torch.tensor([[11]])) == [(POPULARITY, 0, None)]


def test_an_item_that_was_left_out_has_no_reason():
    model, items = ScoredByHand(), torch.tensor([[4]])
    batch = batch_of([[3, 5]])
    median = median_items(model.full_sort_predict(batch))
    for value in (-torch.inf, torch.nan):
        scores = torch.full((1, 1), value, dtype=torch.float64)
        found = find_reasons(model, batch, items, scores, median)
        assert found.kinds.tolist() == [[NONE]]


def test_the_columns_of_a_history_stay_beside_each_other():
    seen = []

    class Watching(ScoredByHand):
        def full_sort_predict(self, batch):
            seen.append(batch)
            return super().full_sort_predict(batch)

    reasons_of(Watching(), HISTORIES, EVERY)
    left = seen[-1]
    rows = left["item_list"].tolist()
    assert [3, 3, 7, 0, 0] in rows
    assert [5, 7, 0, 0, 0] in rows  # both 3 are gone
    assert [2, 4, 6, 0, 0] in rows
    assert torch.equal(left["time_list"], left["item_list"] * 100)


def test_the_items_of_a_history_are_each_named_once():
    batch = batch_of(HISTORIES)
    found = history_items(batch["item_list"], batch["length"])
    assert found.rows.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3]
    assert found.items.tolist() == [3, 5, 7, 2, 9, 1, 2, 4, 6]
    assert found.begins.tolist() == [0, 3, 4, 5, 9]
    assert found.of_position[0].tolist() == [0, 1, 0, 2, -1]
    best, items = found.best(torch.tensor([1.0, 4, 2, 5, 6, 3, 3, 1, 2])[:, None])
    assert best[:, 0].tolist() == [4, 5, 6, 3]
    assert items[:, 0].tolist() == [5, 2, 9, 1]
