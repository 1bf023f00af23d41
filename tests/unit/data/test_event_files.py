"""Events in pieces and brought up to date equal those that are sorted by columns at once."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data import event_files
from recbole_hm4sr.data.array_files import (
    ArrayWriter,
    keep_array,
    open_array,
    remove_arrays,
    write_array,
)
from recbole_hm4sr.data.event_files import (
    add_items,
    cut_pieces,
    latest_runs,
    merge_events,
    merge_times,
    write_events,
)
from recbole_hm4sr.data.events import (
    EventRuns,
    Interactions,
    TimesOfItems,
    event_pieces,
    join_pieces,
    times_of_items,
)
from recbole_hm4sr.data.visits import number_visits

N_ITEMS, REACH = 9, 3


def draw(seed, n=60, n_users=7):
    """Interactions with many repeats and equal times, by user and time."""
    random = np.random.default_rng(seed)
    users, items = random.integers(n_users, size=n), random.integers(1, N_ITEMS, size=n)
    times = random.integers(5, 17, size=n)
    order = np.lexsort((times, users))
    return users[order], items[order], times[order]


def log_of(users, items, times):
    starts = np.searchsorted(users, users)
    return Interactions(items, times, starts, number_visits(times, starts, gap=1))


def by_columns(users, items, times):
    """All events, pair by pair: table, item, time, weight, other item, in the order of a run."""
    visits = log_of(users, items, times).visits
    rows = []
    for later in range(len(users)):
        for earlier in range(max(0, later - REACH), later):
            if users[earlier] != users[later]:
                continue
            kind = int(visits[earlier] != visits[later])
            pair = items[earlier], items[later]
            for direction in (0, 1):
                source, other = pair if direction == 0 else pair[::-1]
                distance = later - earlier
                rows.append(
                    (2 * direction + kind, source, times[later], 1 / distance, -other, distance)
                )
    rows = np.array(sorted(rows))
    runs = (rows[:, 0] * N_ITEMS + rows[:, 1]).astype(np.int64)
    starts = np.searchsorted(runs, np.arange(4 * N_ITEMS + 1))
    return EventRuns(
        others=-rows[:, 4].astype(np.int32),
        distances=rows[:, 5].astype(np.uint8),
        times=rows[:, 2].astype(np.int64),
        starts=starts,
    )


def built(log, **options):
    counts = np.zeros(4 * N_ITEMS, dtype=np.int64)
    pieces = event_pieces(log, n_items=N_ITEMS, reach=REACH, counts=counts, **options)
    return join_pieces(pieces, counts)


def assert_equal(found, expected):
    for name, values in vars(expected).items():
        got = getattr(found, name)
        assert got.dtype == values.dtype, name
        np.testing.assert_array_equal(got, values, err_msg=name)


@pytest.mark.parametrize("most", [1, 40, 10**6])
def test_events_in_pieces_are_those_of_all_pairs(most):
    rows = draw(1)
    assert_equal(built(log_of(*rows), most=most), by_columns(*rows))


def test_events_are_written_piece_after_piece(tmp_path):
    rows = draw(2)
    names = write_events(tmp_path, log_of(*rows), n_items=N_ITEMS, reach=REACH, most=20)
    found = EventRuns(**{name: open_array(tmp_path, hash_) for name, hash_ in names.items()})
    assert_equal(found, by_columns(*rows))
    assert sum(found.__dict__[name].itemsize for name in ("others", "distances", "times")) == 13
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy"] * 4


def test_mapped_events_are_built_once_and_again_only_where_they_are_damaged(tmp_path, monkeypatch):
    rows, calls = draw(2), []

    def counted(*words, **options):
        calls.append(words)
        return write_events(*words, **options)

    monkeypatch.setattr(event_files, "write_events", counted)

    def mapped(rows, reach=REACH):
        return event_files.map_events(tmp_path, log_of(*rows), n_items=N_ITEMS, reach=reach)

    for _ in range(2):
        found = mapped(rows)
        assert_equal(found, by_columns(*rows))
        assert all(isinstance(values, np.memmap) for values in vars(found).values())
    assert len(calls) == 1
    assert_equal(mapped(draw(3)), by_columns(*draw(3)))
    mapped(rows, reach=REACH - 1)
    assert len(calls) == 3
    path = Path(mapped(rows).others.filename)
    path.write_bytes(path.read_bytes()[:-1])
    assert_equal(mapped(rows), by_columns(*rows))
    path.unlink()
    assert_equal(mapped(rows), by_columns(*rows))
    assert len(calls) == 5


def test_events_that_nobody_has_asked_for_in_a_month_are_removed_when_others_are_built(tmp_path):
    def mapped(seed):
        return event_files.map_events(tmp_path, log_of(*draw(seed)), n_items=N_ITEMS, reach=REACH)

    def hashes(found):
        return {Path(values.filename).stem for values in vars(found).values()}

    old, used = mapped(2), mapped(3)
    month_ago = time.time() - 31 * 86_400
    for path in tmp_path.glob("*.*"):
        os.utime(path, (month_ago, month_ago))
    mapped(3)  # asked for again: its arrays are as old as before
    (tmp_path / "written.npy").touch()  # of another process that has not named it yet
    new = mapped(4)
    left = {path.stem for path in tmp_path.glob("*.npy")}
    assert left == hashes(used) | hashes(new) | {"written"}
    assert hashes(old) - left
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert_equal(old, by_columns(*draw(2)))  # who has mapped them keeps them
    assert_equal(mapped(2), by_columns(*draw(2)))


def test_a_whole_mapped_array_is_kept_as_a_second_name(tmp_path):
    values = np.arange(9)
    name = write_array(tmp_path / "cache", values)
    mapped = open_array(tmp_path / "cache", name)
    run = tmp_path / "run"
    for _ in range(2):
        assert keep_array(run, mapped) == name
    assert (run / f"{name}.npy").samefile(tmp_path / "cache" / f"{name}.npy")
    for array in (mapped[2:5], mapped + 1, values[:3]):
        np.testing.assert_array_equal(open_array(run, keep_array(run, array)), array)
    assert len(list(run.iterdir())) == 4
    remove_arrays(run, keep=())
    np.testing.assert_array_equal(open_array(tmp_path / "cache", name), values)


@pytest.mark.parametrize("most", [1, 7, 10**6])
def test_merged_events_are_in_the_order_of_all(most):
    first, second = draw(3), draw(4, n=25)
    old, new = built(log_of(*first)), built(log_of(*second))
    # Of users of their own, so that the events of both are those of all.
    users, items, times = (np.concatenate(both) for both in zip(first, second, strict=True))
    users[len(first[0]) :] += 100
    counts = np.diff(old.starts) + np.diff(new.starts)
    found = join_pieces(merge_events(old, new, most), counts)
    assert_equal(found, by_columns(users, items, times))


def test_events_come_to_empty_runs():
    new = built(log_of(*draw(5)))
    empty = EventRuns(*(values[:0] for values in list(vars(new).values())[:3]), new.starts * 0)
    assert_equal(join_pieces(merge_events(empty, new), np.diff(new.starts)), new)


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_what_is_kept_of_a_run_answers_every_later_moment(limit):
    runs = built(log_of(*draw(6, n=120)))
    newest = int(runs.times.max())
    firsts, counts = latest_runs(runs, limit=limit, before=newest)
    kept = join_pieces(cut_pieces(runs, firsts, counts, most=5), counts)
    n_more = 0
    for moment in (newest, newest + 1):
        for run in range(4 * N_ITEMS):
            found = []
            for part in (runs, kept):
                own = slice(part.starts[run], part.starts[run + 1])
                known = part.times[own] < moment
                found.append([part.others[own][known][-limit:], part.times[own][known][-limit:]])
            np.testing.assert_array_equal(*found)
            n_more += moment == newest and np.diff(kept.starts)[run] > limit
    assert n_more or limit == 100  # some runs have events of the newest time beside the latest
    assert len(kept.others) < len(runs.others) or limit == 100


def test_new_items_get_empty_runs_behind_those_of_their_table():
    # Two tables of two items with 1, 2, 0 and 4 events, and a third item.
    found = add_items(np.array([0, 1, 3, 3, 7]), 3, n_tables=2)
    np.testing.assert_array_equal(found, [0, 1, 3, 3, 3, 7, 7])


def test_times_of_items_are_merged_in_order():
    _, items, times = draw(7)
    part = np.arange(len(items)) % 3 == 0
    old = times_of_items(items[~part], times[~part], n_items=N_ITEMS)
    found = merge_times(old, items[part], times[part])
    expected = times_of_items(items, times, n_items=N_ITEMS)
    assert_equal(found, TimesOfItems(expected.times, expected.starts))


def test_a_damaged_or_missing_array_is_one_sentence(tmp_path):
    name = write_array(tmp_path, np.arange(5))
    np.testing.assert_array_equal(open_array(tmp_path, name), np.arange(5))
    path = tmp_path / f"{name}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\1")
    with pytest.raises(DataError, match=r"\.npy must be as it was written, but is damaged; copy"):
        open_array(tmp_path, name)
    remove_arrays(tmp_path, [])
    with pytest.raises(DataError, match=r"\.npy must be there, since the run's files name it"):
        open_array(tmp_path, name)


def test_writing_into_a_mapped_array_leaves_its_file(tmp_path):
    name = write_array(tmp_path, np.zeros((2, 3)))
    array = open_array(tmp_path, name)
    array[:] = 1
    np.testing.assert_array_equal(open_array(tmp_path, name), np.zeros((2, 3)))
    assert len(open_array(tmp_path, write_array(tmp_path, np.zeros((0,))))) == 0


def test_an_array_with_rows_missing_gets_no_name(tmp_path):
    writer = ArrayWriter(tmp_path, np.int64, (3,))
    writer.write(np.arange(2))
    with pytest.raises(ValueError, match="1 are missing"):
        writer.close()
    assert list(tmp_path.iterdir()) == []
