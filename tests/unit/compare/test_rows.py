"""The rows of a table: several of one run, whose model was measured in several views."""

import dataclasses
import shutil

import numpy as np
import pytest
from test_table import RANKS, outcome, write_ranks

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.latex import as_latex
from recbole_hm4sr.compare.protocol import check_grid
from recbole_hm4sr.compare.summary import ALL, summarize
from recbole_hm4sr.compare.table import build_tables, main_table
from recbole_hm4sr.testing.toydata import write_toy_dataset

FROZEN, REQUEST = "Momento · memory frozen", "Momento · memory to the request"
REQUEST_RANKS = {1: [1, 1, 1, 4], 2: [1, 1, 2, 20]}
MEMORY = {"memory_refresh": ["none", "request"], "request_time": "target"}


def grid_of(**changes):
    values = {
        "datasets": ["toy"], "models": ["B", "Momento"], "seeds": [1, 2], "metrics": ["Hit@10"],
        "baseline": "B",
    }  # fmt: skip
    return read_grid(flags={**values, **changes})


def momento(tmp_path, seed):
    """A run of Momento, frozen as the model A and better at the request."""
    one = outcome(tmp_path, "A", seed)
    write_ranks(tmp_path / "other", REQUEST_RANKS[seed])
    shutil.move(tmp_path / "other" / "test_ranks.npz", one.folder / "test_ranks-request.npz")
    (tmp_path / "other").rmdir()
    (one.folder / "config.yaml").write_text(
        "memory: events\nmemory_refresh: [none, request]\n", encoding="utf-8"
    )
    views = {
        "none": {"best_epoch": 3, "ranks": "test_ranks.npz"},
        "request": {"best_epoch": 5, "ranks": "test_ranks-request.npz"},
    }
    cell = Cell("toy", "Momento", "Momento", {}, seed)
    return dataclasses.replace(one, cell=cell, record={**one.record, "views": views})


def outcomes_of(tmp_path, seeds=(1, 2)):
    others = [outcome(tmp_path, "B", seed) for seed in (1, 2)]
    return [*others, *(momento(tmp_path, seed) for seed in seeds)]


def test_each_view_is_a_row_with_its_own_ranks_and_test(tmp_path):
    summary = summarize(grid_of(), outcomes_of(tmp_path))[0]
    assert [row.label for row in summary.rows] == ["B", FROZEN, REQUEST]
    assert summary.complete
    hits = [row.scores[ALL, "Hit@10"].mean for row in summary.rows]
    assert hits == [3 / 8, 3 / 4, (4 / 4 + 3 / 4) / 2]
    for row, ranks in ((summary.rows[1], [RANKS["A", 1], RANKS["A", 2]]),
                       (summary.rows[2], list(REQUEST_RANKS.values()))):  # fmt: skip
        theirs = [RANKS["B", 1], RANKS["B", 2]]
        means = [np.mean(np.array(some) <= 10, axis=0) for some in (ranks, theirs)]
        assert row.tests["Hit@10"][0].difference == pytest.approx((means[0] - means[1]).mean())
    # Two tests in the table: Holm doubles the smaller p.
    tests = [row.tests["Hit@10"] for row in summary.rows[1:]]
    smaller = min(tests, key=lambda test: test[0].p)
    assert smaller[1] == pytest.approx(2 * smaller[0].p)
    note = "Momento (memory frozen, memory to the request): one training a seed, each row"
    assert any(text.startswith(note) for text in summary.notes)
    assert REQUEST in as_latex([main_table(summary)]).replace(r"\allowbreak{}", "")


@pytest.mark.parametrize(("baseline", "row"), [("Momento", FROZEN), (REQUEST, REQUEST)])
def test_the_baseline_is_a_row_or_the_first_of_its_model(tmp_path, baseline, row):
    summary = summarize(grid_of(baseline=baseline), outcomes_of(tmp_path))[0]
    assert summary.baseline == row
    tested = {one.label for one in summary.rows if one.tests}
    assert tested == {"B", FROZEN, REQUEST} - {row}


def test_a_seed_without_a_result_is_missing_in_every_row(tmp_path):
    cell = Cell("toy", "Momento", "Momento", {}, 2)
    failed = dataclasses.replace(outcome(tmp_path, "C", 2), cell=cell)
    summary = summarize(grid_of(), [*outcomes_of(tmp_path, seeds=(1,)), failed])[0]
    for row in summary.rows[1:]:
        assert (row.seeds, row.wanted_seeds) == ((1,), (1, 2))
        assert row.reason == "seed 2: it has no & column"
    assert not summary.complete


def test_a_model_that_has_not_run_has_one_row(tmp_path):
    cell = Cell("toy", "Momento", "Momento", {}, 1)
    failed = dataclasses.replace(outcome(tmp_path, "C", 1), cell=cell)
    for baseline in ("B", "Momento", REQUEST):
        grid = grid_of(baseline=baseline, seeds=[1])
        summary = summarize(grid, [outcome(tmp_path, "B", 1), failed])[0]
        assert [row.label for row in summary.rows] == ["B", "Momento"]
        assert summary.baseline == baseline.partition(" · ")[0]
        build_tables(summary)
        shutil.rmtree(tmp_path / "B1")


def grid_with_seeds(tmp_path, own, **flags):
    """A grid of two seeds, whose second row has its own."""
    path = tmp_path / "grid.yaml"
    text = "datasets: [toy]\nseeds: [1, 2]\nmetrics: [Hit@10]\nbaseline: B\n"
    path.write_text(f"{text}models: [A, {{model: B, seeds: {own}}}]\n", encoding="utf-8")
    return read_grid(path, flags)


def test_rows_may_have_seeds_of_their_own(tmp_path):
    grid = grid_with_seeds(tmp_path, [1])
    assert [(cell.label, cell.seed) for cell in grid.cells()] == [("A", 1), ("B", 1), ("A", 2)]
    outcomes = [outcome(tmp_path, cell.label, cell.seed) for cell in grid.cells()]
    summary = summarize(grid, outcomes)[0]
    assert summary.complete
    results = build_tables(summary)[0]
    assert [row[1].text for row in results.rows] == ["2/2", "1/1"]
    assert "A is compared with B over seed 1 alone, which both have." in results.notes
    more = grid_with_seeds(tmp_path, ["7-8"]).cells()
    assert [(cell.label, cell.seed) for cell in more] == [("A", 1), ("A", 2), ("B", 7), ("B", 8)]


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ([1, 1], "seeds of B must differ, got '1' twice"),
        ([-1], "a seed must be a whole number from 0"),
        (3, "seeds must be a list with at least one entry, got 3"),
    ],
)
def test_seeds_of_a_row_are_checked(seeds, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        grid_with_seeds(tmp_path, seeds)


def test_seeds_of_a_flag_hold_for_every_row(tmp_path):
    cells = grid_with_seeds(tmp_path, [1], seeds=[5]).cells()
    assert [(cell.label, cell.seed) for cell in cells] == [("A", 5), ("B", 5)]


# --- what is refused before anything runs --------------------------------------------------------


@pytest.fixture
def check(tmp_path):
    write_toy_dataset(tmp_path / "toy")

    def check_rows(rows, **changes):
        models = [
            {"label": label, "model": model, "settings": settings}
            for label, model, settings in rows
        ]
        settings = {"data_path": str(tmp_path), "MAX_ITEM_LIST_LENGTH": 20}
        check_grid(
            read_grid(
                flags={"datasets": ["toy"], "models": models, "settings": settings, **changes}
            )
        )

    return check_rows


LAST, TARGET = {"request_time": "last"}, {"request_time": "target"}


def test_moments_that_differ_must_be_said_by_the_label(check):
    with pytest.raises(
        ConfigError,
        match=r"request_time must be the same for all models of toy .* got Momento \(last\), "
        r"with a memory \(target\)",
    ):
        check([("Momento", "Momento", LAST),
               ("with a memory", "SASRecPlus", {"memory": "events", **TARGET})])  # fmt: skip
    check([("Momento", "Momento", LAST), ("Momento (target time)", "Momento", TARGET)])


def test_a_model_that_does_not_read_the_moment_stands_in_both(check):
    check([("Momento", "Momento", TARGET), ("SASRec+", "SASRecPlus", LAST), ("GRU", "GRU4Rec", {})])


def test_a_baseline_may_be_a_row_of_a_model_and_no_other(check):
    rows = [("Momento", "Momento", MEMORY), ("SASRec+", "SASRecPlus", {})]
    check(rows, baseline=REQUEST)
    with pytest.raises(
        ConfigError, match=f"baseline must be one of Momento, {FROZEN}, {REQUEST}, "
    ):
        check(rows, baseline="Momento · memory of the day")
    with pytest.raises(ConfigError, match="baseline must be one of Momento, SASRec"):
        check(rows, baseline="Memento")
