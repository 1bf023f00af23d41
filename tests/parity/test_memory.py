"""The memory, the situation and the targets of a visit equal recorded numbers in float64."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from recbole_hm4sr.data.events import build_events, times_of_items
from recbole_hm4sr.data.neighbours import nearest_items
from recbole_hm4sr.data.visits import number_visits, visit_targets
from recbole_hm4sr.layers import item_counts
from recbole_hm4sr.layers.event_store import EventStore
from recbole_hm4sr.layers.item_counts import Clock, ItemCounts
from recbole_hm4sr.layers.memory import EventMemory
from recbole_hm4sr.layers.situation import situation

pytestmark = pytest.mark.parity

RECORDED = np.load(Path(__file__).parent / "fixtures" / "momento" / "momento.npz")
DAY = 86400
# Data, longest gap of a visit, latest events that are read, window.
SETS = {
    "once": ("once", 0, 400, 50),
    "again": ("again", 0, 5, 12),
    "again_gap": ("again", DAY, 400, 50),
}
PARTS = [(name, part) for name in SETS for part in ("", "_valid", "_test")]


class Log(NamedTuple):
    """Interactions by user and time."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @property
    def starts(self):
        return np.searchsorted(self.users, self.users)

    def where(self, flags):
        return Log(*(column[flags] for column in self))


def log_of(name):
    users, items, times = (RECORDED[f"{SETS[name][0]}/{n}"] for n in ("users", "items", "times"))
    order = np.lexsort((times, users))
    return Log(users[order], items[order], times[order])


def training_part(log):
    """All but the last two of each user."""
    ends = np.searchsorted(log.users, log.users, side="right")
    return log.where(np.arange(len(log.users)) < ends - 2)


def n_items_of(name):
    return len(RECORDED[f"{SETS[name][0]}/features"])


def events_of(name, log):
    visits = number_visits(log.times, log.starts, gap=SETS[name][1])
    return build_events(
        log.items, log.times, log.starts, visits, n_items=n_items_of(name), reach=10
    )


def neighbours_of(name):
    width = RECORDED[f"{name}/neighbours"].shape[1]
    features = RECORDED[f"{SETS[name][0]}/features"]
    return nearest_items(features, n_neighbours=width, batch=7)


def memory_of(name, log):
    """The memory of some interactions; t_0 is the first time of all data."""
    times = log_of(name).times
    clock = Clock(int(times.min()), int(np.ptp(times)) + 2)
    known = times_of_items(log.items, log.times, n_items=n_items_of(name))
    times, starts = torch.from_numpy(known.times), torch.from_numpy(known.starts)
    counts = ItemCounts(times, starts, clock, damping=0.3)
    events = EventStore(*map(torch.from_numpy, vars(events_of(name, log)).values()), counts)
    near = tuple(map(torch.from_numpy, neighbours_of(name)))
    return EventMemory(events, counts, [near], limit=SETS[name][2], popularity_days=28)


def last_ten(values, log, rows):
    """Of each row of (user, length), newest first, padded with 0. Shape [N, 10]."""
    found = np.zeros((len(rows), 10), dtype=np.int64)
    for number, (user, length) in enumerate(rows):
        begin = np.searchsorted(log.users, user)
        newest = values[begin : begin + length][::-1][:10]
        found[number, : len(newest)] = newest
    return torch.from_numpy(found)


def dense(read, last_items, moments, n_items):
    """All relations as one table. Shape [N, R, I]."""
    table = torch.zeros(len(last_items), read.n_relations, n_items, dtype=torch.float64)
    for runs in read.runs(last_items, moments, torch.float64):
        numbers, items, values = runs.entries()
        index = runs.rows[numbers], runs.relations[numbers], items.long()
        table.index_put_(index, values * runs.weights[numbers], accumulate=True)
    table[:, -1, 0] = 0
    return table.numpy()


@pytest.mark.parametrize("name", SETS)
def test_events(name):
    runs = events_of(name, training_part(log_of(name)))
    number = np.repeat(np.arange(len(runs.starts) - 1), np.diff(runs.starts))
    table, sources = np.divmod(number, n_items_of(name))
    direction, kind = np.divmod(table, 2)
    found = [sources, runs.others, direction, kind, runs.distances, runs.times]
    rows = np.stack(found, axis=1)
    rows = rows[np.lexsort(rows.T[::-1])]
    np.testing.assert_array_equal(rows, RECORDED[f"{name}/events"])


@pytest.mark.parametrize("name", SETS)
def test_neighbours(name):
    items, cosines = neighbours_of(name)
    np.testing.assert_array_equal(items, RECORDED[f"{name}/neighbours"])
    table = RECORDED[f"{SETS[name][0]}/cosine"]
    expected = np.take_along_axis(table, items.astype(np.int64), axis=1) * (items > 0)
    np.testing.assert_array_equal(cosines, expected)


@pytest.mark.parametrize("when", ["target", "last"])
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_memory_at_the_moment_of_each_request(name, part, when):
    log, rows = log_of(name), RECORDED[f"{name}/rows{part}"]
    moments = torch.from_numpy(RECORDED[f"{name}/{when}/T{part}"])
    items = last_ten(log.items, log, rows)
    found = dense(memory_of(name, training_part(log)), items, moments, n_items_of(name))
    np.testing.assert_allclose(found, RECORDED[f"{name}/{when}/m{part}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("counts_a_search", [0, 10**9], ids=["searched", "made"])
def test_counts_without_a_table_equal_those_of_the_table_to_the_bit(counts_a_search, monkeypatch):
    """Searched one by one, or made for all items from those of a few snapshots."""
    name = "again_gap"
    log, rows = log_of(name), RECORDED[f"{name}/rows_test"]
    items = last_ten(log.items, log, rows)
    moments = torch.from_numpy(RECORDED[f"{name}/target/T_test"])
    moments[0] += 4000 * DAY  # later than all data
    by_table = dense(memory_of(name, log), items, moments, n_items_of(name))
    # Of the snapshots, seven are kept.
    monkeypatch.setattr(item_counts, "_MOST_COUNTS", 7 * n_items_of(name))
    monkeypatch.setattr(item_counts, "_COUNTS_A_SEARCH", counts_a_search)
    known = memory_of(name, log)
    found = dense(known, items, moments, n_items_of(name))
    assert (known.counts._kept is not None) == (counts_a_search > 0)
    assert by_table.any()
    np.testing.assert_array_equal(found, by_table)


@pytest.mark.parametrize("when", ["target", "last"])
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_situation_of_each_request(name, part, when):
    log, rows = log_of(name), RECORDED[f"{name}/rows{part}"]
    _, gap, _, window = SETS[name]
    found = situation(
        last_ten(log.times, log, rows),
        torch.from_numpy(np.minimum(rows[:, 1], window)),
        torch.from_numpy(RECORDED[f"{name}/{when}/T{part}"]),
        gap=gap,
        day=DAY,
    )
    np.testing.assert_allclose(found, RECORDED[f"{name}/{when}/z{part}"], rtol=0, atol=1e-12)


def targets_of(name, log, rows):
    visits = number_visits(log.times, log.starts, gap=SETS[name][1])
    positions = np.searchsorted(log.users, rows[:, 0]) + rows[:, 1]
    return visit_targets(log.items, visits, positions, n_items=n_items_of(name))


@pytest.mark.parametrize("name", [*SETS, "once/moment"])
def test_targets_of_a_visit(name):
    data, rows = name.split("/")[0], RECORDED[f"{name}/rows"]
    log = log_of(data)
    training = training_part(log)
    if "moment" in name:
        training = log.where(log.times < RECORDED[f"{name}/ends"][0])
    found = targets_of(data, training, rows)
    table = np.zeros((len(rows), n_items_of(data)))
    table[found.rows, found.items] = found.weights
    np.testing.assert_array_equal(table, RECORDED[f"{name}/Y"])


@pytest.mark.parametrize("when", ["target", "last"])
@pytest.mark.parametrize("refresh", ["none", "week", "request"])
def test_memory_by_how_fresh_it_may_be(when, refresh):
    """All interactions make events there; what is read is known before the moment that counts."""
    log, rows = log_of("once"), RECORDED["once/moment/rows_test"]
    positions = np.searchsorted(log.users, rows[:, 0]) + rows[:, 1]
    own = torch.from_numpy(log.times[positions if when == "target" else positions - 1])
    known = memory_of("once", log)
    cut = int(RECORDED["once/moment/ends"][0])
    moments = {"none": own.clamp(max=cut), "week": known.clock.snapshots(own), "request": own}
    items = last_ten(log.items, log, rows)
    found = dense(known, items, moments[refresh], n_items_of("once"))
    expected = RECORDED[f"once/moment/{when}/m_test_{refresh}"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_nothing_from_the_moment_on_changes_a_bit_and_a_grain_before_does():
    name = "again_gap"
    log, rows = log_of(name), RECORDED[f"{name}/rows"]
    moments = RECORDED[f"{name}/target/T"]
    number = int(np.argsort(moments)[len(moments) // 2])
    moment, items = torch.tensor([moments[number]]), last_ten(log.items, log, rows[[number]])

    def read(time):
        """With three more interactions by one more user, of whom one took an item of the row."""
        known = log.where(log.times < moments[number])
        user = np.full(2, known.users.max() + 1)
        added = Log(
            np.append(known.users, user),
            np.append(known.items, [int(items[0, 0]), 1]),
            np.append(known.times, [time, time]),
        )
        return dense(memory_of(name, added), items, moment, n_items_of(name))

    late, later = read(int(moment)), read(int(moment) + 5 * DAY)
    assert np.array_equal(late, later)
    assert not np.array_equal(late, read(int(moment) - 1))
