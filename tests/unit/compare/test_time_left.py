"""The time left of a comparison, from the runs that have finished."""

import dataclasses
from pathlib import Path

from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.time_left import TimeLeft


def cell(label, seed, dataset="toy"):
    return Outcome(Cell(dataset, label, label, {}, seed), "f", Path(), None)


def done(outcome, seconds, n_parameters=10, **facts):
    record = {"status": "done", "n_parameters": n_parameters, **facts}
    if seconds is not None:
        record["seconds"] = seconds
    return dataclasses.replace(outcome, record=record)


def failed(outcome):
    return dataclasses.replace(outcome, record={"status": "failed", "reason": "why"})


def left(outcomes, jobs=1, **options):
    return TimeLeft(outcomes, jobs, retry=False, **options)


def test_a_run_takes_as_long_as_those_of_its_row_else_as_trained_ones():
    outcomes = [
        done(cell("A", 1), 100.0), done(cell("A", 2), 300.0), cell("A", 3),
        done(cell("Popular", 1), 2.0, n_parameters=0), cell("B", 1),
    ]  # fmt: skip
    # A: the mean of 100 and 300. B has no run: the mean of those, without Popular's.
    assert left(outcomes).seconds() == 200 + 200
    assert left(outcomes).words() == "; about 6.7 min left"


def test_nothing_is_said_of_what_no_run_tells():
    assert left([done(cell("Popular", 1), 2.0, n_parameters=0), cell("A", 1)]).words() == ""
    assert left([done(cell("A", 1), None), cell("A", 2)]).words() == ""  # an older release
    assert left([done(cell("A", 1), 9.0, trained_by="t"), cell("A", 2)]).words() == ""
    assert left([done(cell("A", 1, "other"), 9.0), cell("A", 2)]).words() == ""
    assert left([done(cell("A", 1), 9.0), failed(cell("A", 2))]).words() == ""


def test_what_runs_already_counts_and_runs_at_once_share_the_time():
    now = 0.0
    outcomes = [done(cell("A", 1), 100.0), *(cell("A", seed) for seed in (2, 3, 4))]
    follow = left(outcomes, jobs=2, clock=lambda: now)
    assert follow.seconds() == 300 / 2
    follow.follow("started", outcomes[1], 1)
    now = 40.0
    assert follow.seconds() == (60 + 100 + 100) / 2
    follow.follow("done", done(outcomes[1], 200.0), 1)
    assert follow.seconds() == 150  # two runs at once, of the mean of 100 and 200
    follow.follow("failed", failed(outcomes[2]), 2)
    assert follow.seconds() == 150  # not less than one run takes
    follow.follow("started", outcomes[3], 3)
    now = 1000.0
    assert follow.words() == "; about 0 s left"  # later than was expected
    follow.follow("done", done(outcomes[3], 150.0), 3)
    assert follow.words() == ""


def test_failed_runs_wait_again_where_they_are_tried_again():
    outcomes = [done(cell("A", 1), 100.0), failed(cell("A", 2))]
    assert TimeLeft(outcomes, 1, retry=True).seconds() == 100
