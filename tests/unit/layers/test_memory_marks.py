"""Numbers that tell items apart by all that a memory knows of them."""

import itertools

import pytest
import torch

from recbole_hm4sr.layers.event_store import EventStore
from recbole_hm4sr.layers.item_counts import Clock, ItemCounts
from recbole_hm4sr.layers.memory import EventMemory

N_ITEMS = 8
# From item, table, to item, distance, time. 2 and 3 are taken after 1 at the same time, 5 later.
EVENTS = [(1, 1, 2, 1, 10), (1, 1, 3, 1, 10), (1, 1, 5, 1, 11), (6, 0, 2, 2, 12), (6, 0, 3, 2, 12)]
TIMES = {1: [9], 2: [10, 12], 3: [10, 12], 5: [11], 6: [8]}
NEAR = {1: [(2, 0.5), (3, 0.5)]}


def memory_of(events=EVENTS, times=TIMES, near=NEAR):
    ordered = sorted(events, key=lambda it: (it[1], it[0], it[4], -it[3], -it[2]))
    runs = torch.tensor([table * N_ITEMS + item for item, table, *_ in ordered])
    starts = torch.searchsorted(runs, torch.arange(4 * N_ITEMS + 1))
    others, distances, known = (torch.tensor([it[n] for it in ordered]) for n in (2, 3, 4))
    of_items = [times.get(item, []) for item in range(N_ITEMS)]
    bounds = torch.tensor([0, *map(len, of_items)]).cumsum(0)
    counts = ItemCounts(
        torch.tensor([*itertools.chain(*of_items)]), bounds, Clock(0, 20), damping=0.3
    )
    items, cosines = torch.zeros(N_ITEMS, 2, dtype=torch.int32), torch.zeros(N_ITEMS, 2)
    for item, others_near in near.items():
        for rank, (other, cosine) in enumerate(others_near):
            items[item, rank], cosines[item, rank] = other, cosine
    store = EventStore(others.int(), distances.to(torch.uint8), known, starts, counts)
    return EventMemory(store, counts, [(items, cosines)])


def are_alike(memory, one, other):
    first, second = memory.marks(torch.tensor([one, other])).tolist()
    return first == second


def test_items_of_which_the_same_is_known_have_one_number():
    memory = memory_of()
    assert are_alike(memory, 2, 3)
    assert are_alike(memory, 4, 7)  # of both nothing
    assert not are_alike(memory, 2, 5)
    assert (
        memory.marks(torch.tensor([3, 4, 2])).tolist()[0] == memory.marks(torch.tensor([2])).item()
    )  # whoever is asked for beside it


@pytest.mark.parametrize(
    "change",
    [
        {"events": [*EVENTS[:4], (6, 0, 3, 1, 12)]},  # nearer
        {"events": [*EVENTS[:4], (6, 0, 3, 2, 13)]},  # later
        {"events": [*EVENTS[:4], (6, 1, 3, 2, 12)]},  # in another visit
        {"events": [*EVENTS[:4], (1, 0, 3, 2, 12)]},  # after another item
        {"events": EVENTS[:4]},
        {"times": {**TIMES, 3: [10, 13]}},
        {"near": {1: [(2, 0.5), (3, 0.25)]}},
        {"near": {1: [(2, 0.5)], 4: [(3, 0.5)]}},
    ],
)
def test_one_difference_tells_them_apart(change):
    assert not are_alike(memory_of(**change), 2, 3)
