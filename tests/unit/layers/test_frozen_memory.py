"""A frozen memory says what the memory said at its moment, whenever it is asked."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.data.events import build_events, times_of_items
from recbole_hm4sr.data.neighbours import nearest_items
from recbole_hm4sr.data.visits import number_visits
from recbole_hm4sr.layers.event_store import EventStore
from recbole_hm4sr.layers.frozen_memory import freeze_memory
from recbole_hm4sr.layers.item_counts import Clock, ItemCounts
from recbole_hm4sr.layers.memory import EventMemory

N_ITEMS, DAY = 9, 86400
MOMENT = 500 * DAY
LAST_ITEMS = torch.tensor([[3, 5, 3], [1, 0, 0], [8, 2, 0], [7, 7, 7]])


def memory(*, popular):
    random = np.random.default_rng(4)
    users = np.repeat(np.arange(12), 8)
    items = random.integers(1, N_ITEMS, len(users))
    times = np.sort(random.integers(0, 600, (12, 8)), axis=1).ravel() * DAY
    starts = np.searchsorted(users, users)
    events = build_events(
        items, times, starts, number_visits(times, starts, gap=0), n_items=N_ITEMS, reach=3
    )
    taken = times_of_items(items, times, n_items=N_ITEMS)
    clock = Clock(int(times.min()), int(np.ptp(times)) + 2)
    of_items = map(torch.from_numpy, (taken.times, taken.starts))
    counts = ItemCounts(*of_items, clock, damping=0.3)
    store = EventStore(*map(torch.from_numpy, vars(events).values()), counts)
    features = random.normal(size=(N_ITEMS, 4))
    features[0] = 0  # the padding item has none
    near = nearest_items(features, n_neighbours=3)
    near = tuple(map(torch.from_numpy, near))
    return EventMemory(store, counts, [near], limit=6, popularity_days=28 if popular else None)


def table(read, moments):
    """All that a memory says. Shape [N, R, I]."""
    found = torch.zeros(len(LAST_ITEMS), read.n_relations, N_ITEMS, dtype=torch.float64)
    for runs in read.runs(LAST_ITEMS, moments, torch.float64):
        numbers, items, values = runs.entries()
        index = runs.rows[numbers], runs.relations[numbers], items.long()
        found.index_put_(index, values * runs.weights[numbers], accumulate=True)
    return found


@pytest.mark.parametrize("popular", [False, True])
def test_it_says_what_the_memory_said(popular):
    own = memory(popular=popular)
    frozen = freeze_memory(own, MOMENT)
    moments = torch.full((len(LAST_ITEMS),), MOMENT)
    expected = table(own, moments)
    assert expected[:, -1].any()
    assert (expected != 0).sum() > 60
    torch.testing.assert_close(table(frozen, moments * 0), expected, rtol=1e-6, atol=1e-7)
    later = table(own, moments + 60 * DAY)
    assert not torch.allclose(later, expected, rtol=1e-3)


def test_short_lists_keep_what_adds_most():
    own = memory(popular=False)
    frozen = freeze_memory(own, MOMENT)
    importance = torch.linspace(-2, 2, own.n_relations)
    owners, items, values = (column.numpy() for column in frozen.neighbours)
    of, relation = np.divmod(owners, own.n_relations)
    added = values * np.abs(importance.numpy())[relation]
    short = frozen.shortened(4, importance).neighbours
    found = set(zip(short.owners.tolist(), short.items.tolist(), strict=True))
    expected = set()
    for item in range(1, N_ITEMS):
        mine = np.flatnonzero(of == item)
        best = mine[np.argsort(-added[mine], kind="stable")[:4]]
        assert len(best) == min(4, len(mine))
        expected |= {(int(owners[n]), int(items[n])) for n in best}
    assert found == expected
    assert len(found) < len(owners)


def test_padded_lists_hold_every_neighbour_the_most_important_first():
    own = memory(popular=True)
    frozen = freeze_memory(own, MOMENT)
    importance = torch.rand(own.n_relations, generator=torch.Generator().manual_seed(1))
    lists = frozen.padded(importance)
    assert [column.dtype for column in lists] == [torch.int32, torch.uint8, torch.float32]
    added = lists.values * importance[lists.relations.long()]
    assert (added.diff(dim=1) <= 1e-7).all()
    item, place = lists.items.nonzero(as_tuple=True)
    assert len(item) == len(frozen.neighbours.items)
    assert not lists.values[lists.items == 0].any()
    owners = item * own.n_relations + lists.relations[item, place].long()
    found = zip(owners.tolist(), lists.items[item, place].tolist(), strict=True)
    values = lists.values[item, place].tolist()
    expected = zip(frozen.neighbours.owners.tolist(), frozen.neighbours.items.tolist(), strict=True)
    assert dict(zip(found, values, strict=True)) == dict(
        zip(expected, frozen.neighbours.values.tolist(), strict=True)
    )
