"""The events of a run that were known before moments, against a count of them one by one."""

import numpy as np
import torch

from recbole_hm4sr.layers.event_store import N_TABLES, EventStore
from recbole_hm4sr.layers.item_counts import Clock, ItemCounts
from recbole_hm4sr.layers.ranges import expand_ranges, whole_numbers

N_ITEMS = 40


def make_store(seed):
    """Runs of 0 to 20 events, the first and the last of none; a third of the times are equal."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 21, size=N_TABLES * N_ITEMS)
    lengths[[0, 1, N_ITEMS, -2, -1]] = 0
    starts = np.concatenate([[0], lengths.cumsum()])
    times = np.concatenate([np.sort(random.integers(100, 130, size=n)) for n in lengths])
    others = random.integers(1, N_ITEMS, size=len(times)).astype(np.int32)
    nothing = torch.empty(0, dtype=torch.int64), torch.zeros(N_ITEMS + 1, dtype=torch.int64)
    counts = ItemCounts(*nothing, Clock(100, 32, 1, 7), damping=0.3)
    distances = np.ones(len(times), dtype=np.uint8)
    columns = map(torch.from_numpy, (others, distances, times, starts))
    return EventStore(*columns, counts), times, starts


def test_what_was_known_at_each_of_several_moments():
    store, times, starts = make_store(seed=0)
    limit = 6
    items = np.tile(np.arange(1, N_ITEMS), 5)
    first = np.random.default_rng(1).integers(98, 133, size=len(items))
    moments = first[:, None] - [0, 3, 9]
    begins, ends = store.known(torch.from_numpy(items), torch.from_numpy(moments), limit)
    for number, item in enumerate(items):
        for table in range(N_TABLES):
            begin, end = starts[table * N_ITEMS + item :][:2]
            known = begin + (times[begin:end] < moments[number][:, None]).sum(axis=1)
            oldest = max(begin, known[0] - limit)
            assert begins[number, table] == oldest
            assert ends[number, table].tolist() == np.maximum(known, oldest).tolist()


def test_a_store_without_events_knows_nothing():
    store, _, _ = make_store(seed=0)
    starts = torch.zeros(N_TABLES * N_ITEMS + 1, dtype=torch.int64)
    empty = EventStore(store.others[:0], store.distances[:0], store.times[:0], starts, store.counts)
    begins, ends = empty.known(torch.tensor([1, 5]), torch.tensor([[200, 100], [90, 80]]), 6)
    assert not begins.any()
    assert ends.shape == (2, N_TABLES, 2)
    assert not ends.any()


def test_positions_are_the_same_in_half_the_bytes():
    begins, ends = torch.tensor([7, 2, 2, 90]), torch.tensor([9, 2, 5, 91])
    for dtype in (torch.int32, torch.int64):
        numbers, positions = expand_ranges(begins, ends, dtype=dtype)
        assert positions.dtype == dtype
        assert numbers.tolist() == [0, 0, 2, 2, 2, 3]
        assert positions.tolist() == [7, 8, 2, 3, 4, 90]
    assert whole_numbers(2**31) == torch.int32  # the largest is 2^31 - 1
    assert whole_numbers(2**31 + 1) == torch.int64
