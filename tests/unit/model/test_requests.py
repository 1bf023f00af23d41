"""Requests and targets of rows: from whole histories, from windows, and up to when one may look."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.config.memory_rules import wrong_memory
from recbole_hm4sr.data.visits import number_visits
from recbole_hm4sr.layers.item_counts import Clock
from recbole_hm4sr.layers.seen import without
from recbole_hm4sr.model.packed_settings import PackedTraining
from recbole_hm4sr.model.requests import RequestReader, VisitReader

DAY = 86400
ITEMS = torch.tensor([1, 2, 3, 4, 5, 6, 7])
TIMES = torch.tensor([0, 0, 3, 9, 5, 5, 30]) * DAY
STARTS = torch.tensor([0, 0, 0, 0, 4, 4, 4])


def reader(**changes):
    options = {
        "clock": Clock(0, 31 * DAY),
        "reach": 3,
        "max_length": 2,
        "request_time": "target",
        "refresh": "request",
        "frozen_at": None,
        "grain": 1,
        "log": (ITEMS, TIMES, STARTS),
    }
    return RequestReader(**{**options, **changes})


@pytest.mark.parametrize(("request_time", "days"), [("target", [9, 5]), ("last", [3, 5])])
def test_a_training_row_reads_its_whole_history(request_time, days):
    found = reader(request_time=request_time).at(torch.tensor([3, 5]))
    assert found.last_items.tolist() == [[3, 2, 1], [5, 0, 0]]
    assert (found.last_times // DAY).tolist() == [[3, 0, 0], [5, 0, 0]]
    assert found.lengths.tolist() == [2, 1]  # at most the window
    assert (found.moments // DAY).tolist() == days


def test_a_window_reads_the_same():
    items = torch.tensor([[1, 2, 3], [5, 0, 0]])
    times = torch.tensor([[0, 0, 3], [5, 99, 99]]) * DAY  # what is in the padding is not read
    at = reader(max_length=3).at(torch.tensor([3, 5]))
    own, lengths = TIMES[[3, 5]], torch.tensor([3, 1])
    found = reader(max_length=3).of_windows(items, times, lengths, own)
    for name in found._fields:
        assert torch.equal(getattr(found, name), getattr(at, name)), name


@pytest.mark.parametrize(
    ("refresh", "frozen_at", "days"),
    [
        ("request", 4 * DAY, [9, 5]),
        ("week", 4 * DAY, [7, 0]),
        ("none", 6 * DAY, [6, 5]),
        ("none", None, [9, 5]),
    ],
)
def test_up_to_when_an_evaluation_looks(refresh, frozen_at, days):
    window = torch.tensor([[1, 2], [5, 0]]), torch.tensor([[0, 0], [5 * DAY, 0]])
    own, lengths = TIMES[[3, 5]], torch.tensor([2, 1])
    some = reader(refresh=refresh, frozen_at=frozen_at)
    found = some.of_windows(*window, lengths, own)
    assert (found.moments // DAY).tolist() == [9, 5]
    assert (some.known_until(found.moments) // DAY).tolist() == days


def test_a_request_is_rounded_down_to_the_grain_of_the_data():
    window = torch.tensor([[1]]), torch.tensor([[3 * DAY]])
    now = torch.tensor([9 * DAY + 7])
    for grain, moment in ((1, 9 * DAY + 7), (DAY, 9 * DAY)):
        found = reader(grain=grain, reach=1).of_windows(*window, torch.tensor([1]), now)
        assert found.moments.tolist() == [moment]


def test_targets_of_a_visit_end_with_the_training_part():
    visits = number_visits(TIMES.numpy(), STARTS.numpy(), gap=4 * DAY)
    items = np.array([1, 2, 2, 4, 5, 6, 7])
    inside = np.array([True, True, True, False, True, True, True])
    visits = np.where(inside, visits, -1)
    found = VisitReader(items, visits, 8).at(torch.tensor([1, 2, 5]))
    assert found.pairs.tolist() == [[0, 2], [1, 2], [2, 6]]
    assert found.begins.tolist() == [0, 1, 2, 3]
    assert VisitReader(items, visits, 8).at(torch.tensor([0])).pairs.tolist() == [[0, 1], [0, 2]]


def test_no_target_of_a_visit_is_hidden():
    seen, targets = torch.tensor([[0, 3], [0, 5], [1, 3]]), torch.tensor([[0, 5], [1, 4]])
    assert without(seen, targets).tolist() == [[0, 3], [1, 3]]


@pytest.mark.parametrize(("length", "n_wrong"), [(9, 1), (10, 0)])
def test_a_window_shorter_than_the_memory_reads_is_refused(length, n_wrong):
    values = {"memory": "events", "memory_reach": 10, "MAX_ITEM_LIST_LENGTH": length}
    found = wrong_memory(values)
    assert len(found) == n_wrong
    assert all("at least memory_reach (10) with memory: events" in text for text in found)
    assert wrong_memory({**values, "memory": "none"}) == []


def test_ages_must_rise():
    with pytest.raises(ValueError, match="memory_ages must rise, got"):
        PackedTraining(memory_ages=[30, 30])
