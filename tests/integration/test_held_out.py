"""What a run has held out of its memory is merged into it, before files and after them."""

import shutil

import numpy as np
import pytest
from laterfiles import read_rows, write_csv
from refreshable import contents, snapshot
from servedruns import SMALL_MOMENTO

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.times import as_date
from recbole_hm4sr.later.update import update
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.serving_file import read_serving_file
from recbole_hm4sr.serve import refresh as refreshing
from recbole_hm4sr.serve.moments import notes_before_serving
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refresh import refresh
from recbole_hm4sr.testing.toydata import DAY, N_USERS, write_toy_dataset

pytestmark = pytest.mark.integration
N_HELD_OUT = 2 * N_USERS - 9  # nine users have three interactions
LATE = 1_790_000_000  # after all of the toy data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    write_toy_dataset(folder / "toy")
    settings = {**SMALL_MOMENTO, "data_path": str(folder)}
    quick_start.run("Momento", "toy", overrides=settings, run_dir=folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def held_out(trained):
    """The last two of every user; of one with three the last, since one target is left to train."""
    by_user = {}
    for row in read_rows(trained.parent / "toy" / "toy.inter"):
        by_user.setdefault(row[0], []).append(row)
    return [row for rows in by_user.values() for row in rows[-min(2, len(rows) - 2) :]]


@pytest.fixture
def week(tmp_path, held_out):
    """A later week: new users and items, and a held-out row that it repeats."""
    rows = [["u0", "B001", LATE], ["u0", "B777", LATE + 9], ["new", "B002", LATE + DAY]]
    return write_csv(tmp_path / "week.csv", [held_out[5], *rows])


def run_command(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["refresh", *words])
    return stop.value.code


def require_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_it_is_what_a_file_of_the_held_out_rows_brings(run, trained, held_out, tmp_path, capsys):
    assert len(held_out) == read_serving_file(run).memory.held_out == N_HELD_OUT
    other = shutil.copytree(trained, tmp_path / "other")
    of_file = refresh(other, write_csv(tmp_path / "held.csv", held_out))
    assert run_command(f"--run={run}", "--held_out") == 0
    newest = max(row[2] for row in held_out)
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("151 interactions merged, 0 skipped that were there; new users: 0, ")
    assert text.endswith(f"({newest + 1})")
    assert of_file.known_until == newest + 1
    require_equal(contents(run), contents(other))
    assert (read_serving_file(run).memory.held_out, read_serving_file(run).memory.merged) == (0, ())


def test_a_second_time_and_after_an_update_nothing_is_done(run, week, capsys):
    refresh(run, held_out=True)
    before = snapshot(run)
    assert refresh(run, held_out=True).is_known
    assert run_command(f"--run={run}", "--held_out") == 0
    assert "all of the run's data set was merged before: nothing to do" in capsys.readouterr().out
    assert snapshot(run) == before
    update(run, week)
    assert refresh(run, held_out=True).is_known


def test_after_a_week_the_memory_is_what_both_make_in_their_order(run, trained, week, tmp_path):
    assert refresh(run, week).n_added == 4
    done = refresh(run, held_out=True)
    assert (done.n_added, done.n_skipped) == (150, 1)  # one came with the week
    assert done.known_until == LATE + DAY + 1
    other = shutil.copytree(trained, tmp_path / "other")
    refresh(other, held_out=True)
    assert (refresh(other, week).n_added, len(contents(other)["memory.times"])) == (
        3, len(contents(run)["memory.times"])
    )  # fmt: skip
    require_equal(contents(run), contents(other))
    history = [(["B003", "B004"], [LATE, LATE + 1])]
    asked = [Recommender.load(it).recommend(history, k=9, at=LATE + 2 * DAY) for it in (run, other)]
    np.testing.assert_array_equal(asked[0].scores, asked[1].scores)


def test_an_update_has_the_same_memory_before_and_after(run, trained, week, tmp_path):
    other = shutil.copytree(trained, tmp_path / "other")
    refresh(run, held_out=True)
    assert [update(it, week).n_added for it in (run, other)] == [3, 3]
    found, expected = contents(run), contents(other)
    require_equal(
        {name: it for name, it in found.items() if name.startswith(("memory.", "whole."))},
        {name: it for name, it in expected.items() if name.startswith(("memory.", "whole."))},
    )


def test_another_data_set_is_refused(trained, tmp_path):
    data = shutil.copytree(trained.parent / "toy", tmp_path / "toy")
    run = shutil.copytree(trained, tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(trained.parent), str(tmp_path)))
    lines = (data / "toy.inter").read_text().splitlines()
    (data / "toy.inter").write_text("\n".join(lines[:-1]) + "\n")
    before = contents(run)
    with pytest.raises(DataError, match=r"toy must be those that .*run was trained on, but they"):
        refresh(run, held_out=True)
    require_equal(contents(run), before)
    shutil.rmtree(data)
    with pytest.raises(ConfigError, match=r"data_path"):
        refresh(run, held_out=True)


def test_a_merge_that_is_stopped_leaves_the_run_as_it_was(run, monkeypatch):
    def stop(*_):
        raise OSError("stopped")

    before = contents(run)
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "save_serving_file", stop)
        with pytest.raises(OSError, match="stopped"):
            refresh(run, held_out=True)
    require_equal(contents(run), before)
    assert refresh(run, held_out=True).n_added == N_HELD_OUT


def test_one_source_is_given(run, tmp_path):
    with pytest.raises(ConfigError, match="either --interactions or --held_out"):
        refresh(run)
    with pytest.raises(ConfigError, match="either --interactions or --held_out"):
        refresh(run, tmp_path / "week.csv", held_out=True)
    assert run_command(f"--run={run}") == 2


def test_a_run_that_has_ended_is_told_what_its_memory_lacks(run, tmp_path):
    (note,) = notes_before_serving(run)
    day = as_date(read_serving_file(run).data.clock.newest, "s")[:10]
    assert note.startswith(f"the memory ends {day};")
    assert note.endswith(
        f"; 151 held-out interactions are not in it. Before serving: hm4sr refresh --run={run} "
        f"--held_out"
    )
    refresh(run, held_out=True)
    assert notes_before_serving(run) == ()
    past = {**SMALL_MOMENTO, "request_time": "last", "data_path": str(tmp_path)}
    write_toy_dataset(tmp_path / "toy")
    quick_start.run("Momento", "toy", overrides=past, run_dir=tmp_path / "past")
    assert notes_before_serving(tmp_path / "past")[1:] == (
        "request_time is last: scores do not see when a request is made; a service should be "
        "trained with --request_time=target",
    )
