"""A run's memory brought up to date equals one that is built from all interactions at once."""

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from refreshable import (
    FIRST,
    contents,
    draw,
    first_come,
    make_run,
    parts_of,
    snapshot,
    with_lines,
    write_rows,
)

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.interaction_columns import InteractionColumns
from recbole_hm4sr.data.memory_files import (
    PREFIX,
    MemoryFiles,
)
from recbole_hm4sr.data.refresh_state import NewRows
from recbole_hm4sr.data.serving_data import ServingData
from recbole_hm4sr.run.serving_file import ServingFile, read_serving_file, save_serving_file
from recbole_hm4sr.serve import refresh as refreshing


@pytest.mark.parametrize(("seed", "reads_past"), [(0, 0), (1, 0), (2, 1), (3, 0)])
def test_refreshed_in_parts_is_built_at_once(seed, reads_past, settings, tmp_path):
    rows = draw(seed)
    rows = NewRows(first_come(rows.users), first_come(rows.items), rows.times)
    parts = parts_of(rows, 90, 91, 150)
    run = make_run(tmp_path / "parts", parts[0], settings, reads_past=reads_past)
    n_users, n_items = (int(column.max()) for column in parts[0][:2])
    total = refreshing.Refreshed(False, 0, 0, 0, 0, 0, "s")
    for number, part in enumerate(parts[1:]):
        # As they come, a row may be equal to one that was there, and be skipped.
        done = refreshing.refresh(run, write_rows(tmp_path / f"{number}.csv", part))
        total = total._replace(
            n_added=total.n_added + done.n_added,
            n_skipped=total.n_skipped + done.n_skipped,
            n_users=total.n_users + done.n_users,
            n_items=total.n_items + done.n_items,
        )
        assert done.known_until == part.times.max() + 1
    assert total.n_added + total.n_skipped == 110
    assert (total.n_users, total.n_items) == (
        rows.users.max() - n_users,
        rows.items.max() - n_items,
    )
    assert min(total.n_users, total.n_items) > 0
    whole = make_run(tmp_path / "whole", without_repeats(parts), settings, reads_past=reads_past)
    found, expected = contents(run), contents(whole)
    n_known = len(np.unique(parts[0].items)) + 1
    # What was trained or fitted says nothing of new items.
    assert not found.pop("catalogue")[n_known:].any()
    assert not found.pop(f"{PREFIX}near.text")[n_known:].any()
    del expected["catalogue"], expected[f"{PREFIX}near.text"]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def without_repeats(parts):
    """All rows, but those that a refresh skips: equal to one of the ten newest there were."""
    kept = [*zip(*parts[0], strict=True)]
    for part in parts[1:]:
        there = list(kept)
        for row in zip(*part, strict=True):
            own = sorted((it for it in there if it[0] == row[0]), key=lambda it: it[2])
            if row not in own[-10:]:
                kept.append(row)
    return NewRows(*map(np.array, zip(*kept, strict=True)))


def test_a_file_that_was_merged_is_left_alone(run, tmp_path):
    path = with_lines(tmp_path, f"u1,i1,{FIRST + 20}")
    assert refreshing.refresh(run, path).n_added == 1
    before = snapshot(run)
    copy = with_lines(tmp_path, f"u1,i1,{FIRST + 20}", name="copy.csv")
    done = refreshing.refresh(run, copy)
    assert (done.is_known, done.known_until) == (True, FIRST + 21)
    assert snapshot(run) == before


def test_rows_that_are_there_are_skipped_and_equal_times_come_behind(run, tmp_path):
    path = with_lines(tmp_path, f"u1,i2,{FIRST + 9}", f"u1,i1,{FIRST + 9}", f"u1,i1,{FIRST}")
    done = refreshing.refresh(run, path)
    assert (done.n_added, done.n_skipped) == (1, 2)
    state = contents(run)
    np.testing.assert_array_equal(state["state.items"], [1, 2, 1, 1])
    np.testing.assert_array_equal(state["state.positions"], [0, 3, 1])
    done = refreshing.refresh(run, with_lines(tmp_path, f"u1,i2,{FIRST + 9}"))
    assert (done.n_added, done.n_skipped, done.known_until) == (0, 1, FIRST + 10)


def test_only_a_users_own_newest_time_counts(run, tmp_path):
    done = refreshing.refresh(run, with_lines(tmp_path, f"u2,i2,{FIRST + 6}", f"u3,i2,{FIRST + 1}"))
    assert (done.n_added, done.n_users, done.known_until) == (2, 1, FIRST + 10)


def test_an_inter_file_is_read(run, tmp_path):
    header = "user_id:token\titem_id:token\ttimestamp:float"
    path = with_lines(tmp_path, f"u2\ti2\t{FIRST + 6}", header=header, name="new.inter")
    assert refreshing.refresh(run, path).n_added == 1


def test_a_file_in_the_form_of_the_source_is_read(run, tmp_path):
    kept = read_serving_file(run)
    source = InteractionColumns("who", "what", "when", "date", event="kind", keep_events=("buy",))
    data = dataclasses.replace(kept.data, source=source)
    save_serving_file(run, dataclasses.replace(kept, data=data))
    lines = ["u2,i2,2020-09-13T12:26:46Z,buy", "u2,i1,2020-09-13,view"]
    path = with_lines(tmp_path, *lines, header="who,what,when,kind")
    assert FIRST + 6 == 1_600_000_006  # 2020-09-13T12:26:46Z
    done = refreshing.refresh(run, path)
    assert (done.n_added, done.n_skipped) == (1, 0)
    assert read_serving_file(run).data.source == source


def test_a_parquet_file_is_read_and_names_its_rows(run, tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="Parquet needs duckdb")
    rows = [("u2", "i3", FIRST + 6), ("u1", "i2", FIRST + 8)]
    paths = [tmp_path / name for name in ("late.parquet", "new.parquet")]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE new (user_id TEXT, item_id TEXT, timestamp BIGINT)")
        connection.executemany("INSERT INTO new VALUES (?, ?, ?)", rows)
        connection.table("new").write_parquet(str(paths[0]))
        connection.execute("UPDATE new SET timestamp = timestamp + 100")
        connection.table("new").write_parquet(str(paths[1]))
    before = contents(run)
    with pytest.raises(DataError, match=r"late\.parquet, row 1: an interaction must not be older"):
        refreshing.refresh(run, paths[0])
    for name, values in contents(run).items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
    done = refreshing.refresh(run, paths[1])
    assert (done.n_added, done.n_items, done.known_until) == (2, 1, FIRST + 109)
    state = contents(run)
    np.testing.assert_array_equal(state["state.items"], [1, 2, 2, 1, 3])
    np.testing.assert_array_equal(state["tokens"], ["[PAD]", "i1", "i2", "i3"])


def test_rows_of_one_time_in_two_files_are_one_visit_in_their_order(settings, tmp_path):
    time = FIRST + 9
    first = NewRows(np.array([1, 2, 1]), np.array([1, 1, 2]), FIRST + np.array([0, 5, 9]))
    more = NewRows(np.array([1, 1]), np.array([3, 1]), np.array([time, time]))
    run = make_run(tmp_path / "parts", first, settings)
    for number, part in enumerate(parts_of(more, 1)):
        refreshing.refresh(run, write_rows(tmp_path / f"{number}.csv", part))
    whole = make_run(
        tmp_path / "whole", NewRows(*map(np.concatenate, zip(first, more, strict=True))), settings
    )
    found, expected = contents(run), contents(whole)
    for name in ("whole.others", "whole.distances", "whole.times", "whole.starts", "state.items"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    # Of u1's i1, i2, i3, i1: the first is older than the visit of the other three.
    n_items, starts = 4, found["whole.starts"]
    assert [starts[(table + 1) * n_items] - starts[table * n_items] for table in range(4)] == [
        3, 3, 3, 3
    ]  # fmt: skip
    np.testing.assert_array_equal(found["state.items"], [1, 2, 3, 1, 1])


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([f"u1,i1,{FIRST + 20}", f"u1,i2,{FIRST + 8}"],
         r"new.csv, line 3: an interaction must not be older than its user's newest, got "
         r"1600000008 for 'u1', whose newest is of 1600000009; mend it, or leave it out with"),
        ([f"u1,,{FIRST + 20}"], "new.csv, line 2: item_id must not be empty"),
        (["u3,,"], "new.csv, line 2: item_id must not be empty"),
        ([f"u1,i1,{FIRST + 20}.5"], "new.csv, line 2: timestamp must be a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_and_nothing_changes(run, tmp_path, lines, sentence):
    path, before = with_lines(tmp_path, *lines), snapshot(run)
    with pytest.raises(DataError, match=sentence):
        refreshing.refresh(run, path)
    assert {**snapshot(run), (run / "refresh.lock").relative_to(run): b""} == {
        **before, (run / "refresh.lock").relative_to(run): b""
    }  # fmt: skip


def test_runs_that_cannot_be_refreshed_say_why(settings, tmp_path):
    rows = NewRows(np.array([1, 1]), np.array([1, 2]), FIRST + np.array([0, 9]))
    path = with_lines(tmp_path, f"u1,i9,{FIRST + 20}", f"u1,i8,{FIRST + 20}")
    once = make_run(tmp_path / "once", rows, settings, model="once")
    with pytest.raises(ConfigError, match=r"keeps all interactions, but .*rm_dup_inter: first"):
        refreshing.refresh(once, path)
    fixed = make_run(tmp_path / "fixed", rows, settings, rows_of_items=False)
    with pytest.raises(
        DataError, match=r"line 2: the items must be those of the run, got 'i9' \(2"
    ):
        refreshing.refresh(fixed, path)
    other = make_run(tmp_path / "other", rows, settings, model="SASRec")
    kept = read_serving_file(other)
    own = {name: it for name, it in kept.data.arrays.items() if not name.startswith(PREFIX)}
    data = ServingData(kept.data.item_tokens, kept.data.counts, 2, FIRST, 0, own)
    save_serving_file(other, ServingFile(data, {}, kept.checkpoint))
    with pytest.raises(ConfigError, match=r"a run with memory: events, but SASRec in .* no memory"):
        refreshing.refresh(other, path)
    (other / "serving.npz").unlink()
    with pytest.raises(DataError, match=r"must have a serving.npz"):
        refreshing.refresh(other, path)


def killing_replace(n_named):
    """In place of :meth:`Path.replace`: ends the process once a number of files have their names.

    Every file of a refresh gets its name so, whole; ``serving.npz`` is the last.
    """
    names, replace = [], Path.replace

    def replace_or_die(path, target):
        if len(names) == n_named:
            os.kill(os.getpid(), signal.SIGKILL)
        names.append(target)
        return replace(path, target)

    return replace_or_die


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_refresh_that_is_killed_leaves_the_old_state_whole(run, tmp_path, monkeypatch):
    path, before = with_lines(tmp_path, f"u1,i3,{FIRST + 20}"), contents(run)
    n_named = 0
    while True:
        process = os.fork()
        if not process:
            monkeypatch.setattr(Path, "replace", killing_replace(n_named))
            refreshing.refresh(run, path)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != -signal.SIGKILL:
            break
        after = contents(run)
        for array, values in before.items():
            np.testing.assert_array_equal(after[array], values)
        n_named += 1
    memory = read_serving_file(run).memory
    # The rows that came, all files of the events, what is served and the state, and at last
    # serving.npz.
    assert n_named == 2 + sum(map(len, (memory.whole, memory.served, memory.state)))
    assert contents(run)["tokens"].tolist() == ["[PAD]", "i1", "i2", "i3"]
    assert not list(run.rglob(".*.new"))  # nor what the killed ones had begun


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_refresh_that_is_killed_while_it_tidies_up_is_done(run, tmp_path, monkeypatch):
    path = with_lines(tmp_path, f"u1,i3,{FIRST + 20}")
    process = os.fork()
    if not process:
        monkeypatch.setattr(refreshing, "sweep", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        refreshing.refresh(run, path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert contents(run)["tokens"].tolist() == ["[PAD]", "i1", "i2", "i3"]
    assert refreshing.refresh(run, path).is_known


def test_of_two_refreshes_at_once_one_is_refused(run, tmp_path):
    path, before = with_lines(tmp_path, f"u1,i3,{FIRST + 20}"), contents(run)
    sentence = r"run must be refreshed by one process at a time; another one is at it"
    with locked(run / "refresh.lock"), pytest.raises(ConfigError, match=sentence):
        refreshing.refresh(run, path)
    for array, values in contents(run).items():
        np.testing.assert_array_equal(values, before[array])
    assert refreshing.refresh(run, path).n_added == 1


def test_files_of_the_memory_before_the_last_are_removed(run, tmp_path):
    for number in range(3):
        before = read_serving_file(run).memory
        path = with_lines(tmp_path, f"u1,i1,{FIRST + 20 + number}", name=f"{number}.csv")
        refreshing.refresh(run, path)
    now = read_serving_file(run).memory
    for folder, groups in (("memory", ("served", "whole")), ("refresh_state", ("state",))):
        named = {
            it for memory in (before, now) for g in groups for it in getattr(memory, g).values()
        }
        assert {path.stem for path in (run / folder).iterdir()} == named
    assert now.merged == tuple(hash_file(tmp_path / f"{number}.csv") for number in range(3))


def test_a_missing_file_of_the_memory_is_one_sentence(run):
    memory = read_serving_file(run).memory
    (run / "memory" / f"{memory.served['events.others']}.npy").unlink()
    with pytest.raises(
        DataError, match=r"memory.*\.npy must be there, since the run's files name it"
    ):
        read_serving_file(run)


def test_a_serving_file_without_a_memory_names_no_files():
    assert MemoryFiles.of_arrays({"counts": np.zeros(1)}) is None


def test_bad_and_late_lines_are_left_out_if_that_is_asked_for(run, tmp_path, caplog):
    lines = [
        f"u1,i1,{FIRST + 20}", f"u1,i2,{FIRST + 8}", f"u2,i2,{FIRST + 1}", f"u2,i1,{FIRST + 2}",
        f"u2,i1,{FIRST + 3}", "u2,i1,soon",
    ]  # fmt: skip
    path = with_lines(tmp_path, *lines)
    with pytest.raises(DataError, match=r"line 7: timestamp must be a number .*'soon'; mend it"):
        refreshing.refresh(run, path)
    with pytest.raises(
        DataError, match=r"4 of 5 rows cannot be used: line 3: an .*; line 4: an .*; line 5: an "
    ):
        refreshing.refresh(run, with_lines(tmp_path, *lines[:-1], name="late.csv"))
    done = refreshing.refresh(run, path, skip_bad=True)
    assert (done.n_added, done.known_until) == (1, FIRST + 21)
    assert '4 of "older than its user\'s newest" (line 3)' in caplog.text
    assert '1 of "time is neither a number nor a date" (line 7)' in caplog.text
