"""The page of a comparison and the short table of a terminal."""

import dataclasses
import re

import pytest
from test_table import RANKS, write_ranks

from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.overview import overview_table
from recbole_hm4sr.compare.page import write_page
from recbole_hm4sr.compare.render import as_text
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.summary import ALL, Score, summarize


def outcomes_of(grid, folder):
    found = []
    for cell in grid.cells():
        label = cell.label
        own = folder / cell.folder
        if (label, cell.seed) not in RANKS:
            record = {"status": "failed", "reason": "it has no <colour> column"}
            found.append(Outcome(cell, "f", own, record))
            continue
        write_ranks(own, RANKS[label, cell.seed])
        (own / "report.html").write_text("a report")
        record = {
            "status": "done", "rank_history": "include", "tie_order": "file", "generated": True,
            "train_seconds_per_epoch": 2.5, "n_parameters": 1234, "peak_memory_mb": 100,
            "machine": "m", "device": "cpu", "git_revision": "g", "best_epoch": 3, "epochs": 5,
            "seconds": 90.0, "valid": {"ndcg@10": 0.5},
        }  # fmt: skip
        found.append(Outcome(cell, "f", own, record))
    return found


def grid_of(*datasets):
    return read_grid(
        flags={
            "datasets": list(datasets), "models": ["A", "B", "C"], "seeds": [1, 2],
            "metrics": ["MRR@10", "Hit@10"], "baseline": "B",
        }
    )  # fmt: skip


@pytest.fixture
def compared(tmp_path):
    grid = grid_of("toy")
    outcomes = outcomes_of(grid, tmp_path)
    return summarize(grid, outcomes), outcomes, tmp_path


def test_the_terminal_has_one_short_table(compared):
    summaries, _, _ = compared
    lines = as_text(overview_table(summaries)).splitlines()
    assert lines[0] == "toy (GENERATED data): MRR@10 of the test targets"
    assert re.split(r"  +", lines[1]) == [
        "model", "seeds", "seen items kept", "seen items removed", "s/epoch"
    ]  # fmt: skip
    # (1 + 1/2 + 1/4) / 4 and (1 + 1 + 1/2) / 4, then with each rank one better.
    assert re.split(r"  +", lines[3])[:3] == ["A", "2/2", "0.5312 ± 0.1326*"]
    assert re.split(r"  +", lines[5]) == ["C", "0/2", "it has no <colour> column"]
    assert (
        "MRR@10 with seen items kept: A is the best with 0.5312, 4.2 times B (0.1250)." in lines[7]
    )
    assert "two seeds of one model differ by 2 to 4 %" in lines[9]
    assert max(map(len, lines[:7])) <= 80


def test_several_data_sets_are_one_table(tmp_path):
    grid = grid_of("toy", "two")
    summaries = summarize(grid, outcomes_of(grid, tmp_path))
    table = overview_table(summaries)
    assert table.columns[:2] == ("data set", "model")
    assert [row[0].text for row in table.rows] == ["toy"] * 3 + ["two"] * 3
    page = write_page(summaries, outcomes_of_again(grid, tmp_path), tmp_path).read_text()
    assert "Comparison on toy and two" in page
    assert "two: Seen items removed" in page
    assert "toy: MRR@10 with seen items kept: A is the best" in page


def outcomes_of_again(grid, folder):
    """The same outcomes, whose files are there already."""
    return [
        Outcome(cell, "f", folder / cell.folder, {"status": "failed", "reason": "r"})
        for cell in grid.cells()
    ]


def test_the_page_has_rows_intervals_groups_costs_and_runs(compared):
    summaries, outcomes, folder = compared
    page = " ".join(write_page(summaries, outcomes, folder).read_text().split())
    assert "6 runs, 4 of them finished" in page
    assert "The data set is generated." in page
    results = re.search(r'<section id="results-include-toy">.*?</section>', page).group()
    assert '<td class="best">0.5312 ± 0.1326</td>' in results
    assert "MRR@10 above or below B" in results
    assert results.count('class="whisker"') == 2 + 1  # A and B over seeds, A against B
    assert re.search(r"<details class=\"table\"><summary>[^<]*paired tests", results)
    # The reason takes all columns after the model and its seeds.
    assert re.search(r'<td colspan="\d+">it has no &lt;colour&gt; column</td>', results)
    groups = re.search(r'<section id="groups-toy">.*?</section>', page).group()
    assert groups.count('<details class="table">') == 2
    assert "Length of the history, items" in groups
    costs = re.search(r'<section id="costs-toy">.*?</section>', page).group()
    assert '<th scope="row">A</th><td>2.50</td><td>1,234</td><td>100</td>' in costs
    runs = re.search(r'<section id="runs">.*?</section>', page).group()
    row = '<th scope="row"><a href="toy/A/seed-1/report.html">A, seed 1</a></th><td>3 of 5</td>'
    assert f"{row}<td>0.5000</td><td>90 s</td><td>100</td>" in runs
    assert '<th scope="row">C, seed 1</th><td colspan="4">it has no &lt;colour&gt;' in runs


def test_links_and_texts_of_a_page_are_escaped(compared):
    summaries, outcomes, folder = compared
    strange = folder / "toy" / "a b#'\"é" / "seed-1"
    strange.mkdir(parents=True)
    (strange / "report.html").write_text("a report")
    cell = Cell("toy", "<b>", "A", {}, 1)
    record = outcomes[0].record
    page = write_page(summaries, [Outcome(cell, "f", strange, record)], folder).read_text()
    assert 'href="toy/a%20b%23%27%22%C3%A9/seed-1/report.html">&lt;b&gt;, seed 1</a>' in page
    assert "https://" not in page
    assert page.count("<script") == 1
    (strange / "report.html").unlink()
    page = write_page(summaries, [Outcome(cell, "f", strange, record)], folder).read_text()
    assert '<th scope="row">&lt;b&gt;, seed 1</th><td>3 of 5' in page


def test_a_comparison_without_a_result_has_a_page(tmp_path):
    grid = grid_of("toy")
    outcomes = [dataclasses.replace(one, record=None) for one in outcomes_of_again(grid, tmp_path)]
    page = write_page(summarize(grid, outcomes), outcomes, tmp_path).read_text()
    assert "6 runs, 0 of them finished" in page
    assert page.count("not run yet") >= 6
    assert "No run has finished." in page


def test_the_highest_is_not_marked_where_seeds_may_differ_as_much(compared):
    summaries, _, _ = compared
    close = [
        dataclasses.replace(
            summary,
            rows=tuple(
                dataclasses.replace(row, scores={(ALL, "MRR@10"): Score(mean, 0.0)})
                for row, mean in zip(summary.rows, (0.104, 0.1, 0.0), strict=True)
            ),
        )
        for summary in summaries
    ]
    text = as_text(overview_table(close))
    assert "*" not in text
    assert "MRR@10 with seen items kept: A and B are not told apart (0.1000 to 0.1040)." in text
