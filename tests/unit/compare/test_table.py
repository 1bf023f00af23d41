"""From runs to tables: the numbers by hand, the best in bold, rows that say why."""

import csv
import dataclasses
import io
import math
import shutil

import numpy as np
import pytest

from recbole_hm4sr.base.files import append_line
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.csv_table import csv_records
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.latex import as_latex
from recbole_hm4sr.compare.render import as_csv, as_markdown, as_text, write_tables
from recbole_hm4sr.compare.results import FACTS, Outcome, read_results
from recbole_hm4sr.compare.summary import ALL, summarize
from recbole_hm4sr.compare.table import build_tables
from recbole_hm4sr.evaluate.groups import GROUP_NAMES

USERS = ["u1", "u2", "u3", "u4"]
# Ranks of the four users by model and seed.
RANKS = {
    ("A", 1): [1, 2, 4, 20],
    ("A", 2): [1, 1, 2, 20],
    ("B", 1): [2, 20, 20, 20],
    ("B", 2): [4, 4, 20, 20],
}


def write_ranks(folder, ranks, users=USERS, targets=None):
    folder.mkdir(parents=True)
    order = np.arange(len(users))[::-1]  # the order in the file must not matter
    columns = {
        "user": np.array(users),
        "target": np.array(targets or ["i"] * len(users)),
        "rank_include": np.array(ranks),
        "rank_exclude": np.maximum(np.array(ranks) - 1, 1),
        "history_length": np.array([5, 6, 10, 11]),
        "gap_seconds": np.array([0, 0, 0, 60]),
        "target_count": np.array([9, 9, 2, 1]),
        "popularity": np.array(["head", "head", "middle", "tail"]),
    }
    np.savez(folder / "test_ranks.npz", **{name: v[order] for name, v in columns.items()})


def outcome(tmp_path, label, seed, **facts):
    cell = Cell("toy", label, label, {}, seed)
    if (label, seed) not in RANKS:
        return Outcome(cell, "f", tmp_path, {"status": "failed", "reason": "it has no & column"})
    folder = tmp_path / f"{label}{seed}"
    write_ranks(folder, RANKS[label, seed])
    record = {
        "status": "done",
        "rank_history": "include",
        "tie_order": "file",
        "generated": True,
        "train_seconds_per_epoch": float(seed),
        "n_parameters": 1234,
        "peak_memory_mb": 100 * seed,
        "machine": "m",
        "device": "cpu",
        "git_revision": "g",
        **facts,
    }
    return Outcome(cell, "f", folder, record)


@pytest.fixture
def summaries(tmp_path):
    grid = read_grid(
        flags={
            "datasets": ["toy"],
            "models": ["A", "B", "C"],
            "seeds": [1, 2],
            "metrics": ["MRR@10", "Hit@10"],
            "baseline": "B",
        }
    )
    return summarize(grid, [outcome(tmp_path, *cell.key[1:]) for cell in grid.cells()])


def test_scores_are_means_over_users_then_mean_and_deviation_over_seeds(summaries):
    include, exclude = summaries
    row = include.rows[0]
    seeds = [(1 + 1 / 2 + 1 / 4) / 4, (1 + 1 + 1 / 2) / 4]
    assert row.scores[ALL, "MRR@10"].mean == pytest.approx(sum(seeds) / 2)
    # Of two values the sample's deviation is their distance over the root of 2.
    assert row.scores[ALL, "MRR@10"].deviation == pytest.approx(
        (seeds[1] - seeds[0]) / math.sqrt(2)
    )
    assert exclude.rows[0].scores[ALL, "MRR@10"].mean == pytest.approx(
        ((1 + 1 + 1 / 3) / 4 + (1 + 1 + 1) / 4) / 2
    )
    assert (row.seconds_per_epoch, row.n_parameters, row.peak_memory_mb) == (1.5, 1234, 200)


def test_groups_split_the_users(summaries):
    sizes = summaries[0].group_sizes
    assert {name: size for name, size in sizes.items() if size} == {
        ALL: 4, "history 3 to 5": 1, "history 6 to 10": 2, "history 11 to 20": 1,
        "head": 2, "middle": 1, "tail": 1, "known users": 4, "known items": 4,
        "5 or more in training": 2, "under 5 in training": 2,
        "tie": 3, "non-tie": 1, "gap 1 to 10 min": 1,
    }  # fmt: skip
    scores = summaries[0].rows[0].scores
    assert scores["history 6 to 10", "MRR@10"].mean == pytest.approx(
        ((1 / 2 + 1 / 4) / 2 + (1 + 1 / 2) / 2) / 2
    )
    assert scores["tail", "Hit@10"].mean == 0


def test_the_paired_test_takes_each_users_mean_over_the_seeds(summaries):
    test, adjusted = summaries[0].rows[0].tests["Hit@10"]
    # A hits for users 1, 2, 3 with both seeds; B for user 1 with both, for user 2 with one.
    differences = [0, 1 / 2, 1, 0]
    mean = sum(differences) / 4
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 3)
    assert test.difference == pytest.approx(mean)
    assert test.effect_size == pytest.approx(mean / deviation)
    # Holm, two tests in the table: the smaller p is doubled, the larger at least as large.
    other, other_adjusted = summaries[0].rows[0].tests["MRR@10"]
    smaller, larger = sorted([(test.p, adjusted), (other.p, other_adjusted)])
    assert smaller[1] == pytest.approx(min(1, 2 * smaller[0]))
    assert larger[1] == pytest.approx(max(larger[0], smaller[1]))
    assert smaller[1] > smaller[0]
    assert summaries[0].rows[1].tests == {}  # the baseline itself
    assert summaries[0].rows[0].relative["Hit@10"] == pytest.approx((6 / 8 - 3 / 8) / (3 / 8))


def test_a_user_s_targets_are_averaged_before_the_test_and_seeds_first(tmp_path):
    """Users u1 with three targets and u2 with one: two values are tested, not four."""
    grid = read_grid(
        flags={
            "datasets": ["toy"], "models": ["A", "B"], "seeds": [1, 2], "metrics": ["Hit@10"],
            "baseline": "B",
        }
    )  # fmt: skip
    outcomes = [outcome(tmp_path, *cell.key[1:]) for cell in grid.cells()]
    for one in outcomes:
        shutil.rmtree(one.folder)
        targets = ["i", "j", "k", "l"]
        users = ["u1", "u1", "u1", "u2"]
        write_ranks(one.folder, RANKS[one.cell.key[1:]], users, targets)
    row, base = summarize(grid, outcomes)[0].rows
    # NDCG and all metrics stay means over the targets.
    assert row.scores[ALL, "Hit@10"].mean == 3 / 4
    assert base.scores[ALL, "Hit@10"].mean == pytest.approx((1 / 4 + 2 / 4) / 2)
    test, _ = row.tests["Hit@10"]
    # A hits the three targets of u1 with both seeds; B the first with both, the second with one.
    differences = [1 - (1 + 1 / 2 + 0) / 3, 0.0]
    assert test.n_users == 2
    assert test.difference == pytest.approx(sum(differences) / 2)
    deviation = abs(differences[0] - differences[1]) / math.sqrt(2)
    assert test.effect_size == pytest.approx(sum(differences) / 2 / deviation)


def test_the_best_is_bold_and_a_failed_row_says_why(summaries):
    results, tests, groups = build_tables(summaries[0])
    text = as_text(results)
    assert "0.7500 ± 0.0000*" in text
    assert "GENERATED" in text
    assert "results; seen items kept, tie_order: file" in text
    assert "+100.0 %" in text
    assert "C      0/2    it has no & column" in text
    assert "**0.7500 ± 0.0000**" in as_markdown(results)
    assert "*: the best of the column." in text
    assert [row[0].text for row in tests.rows] == ["A", "A"]
    assert groups.columns == ("metric", "group", "targets", "A", "B")


def test_the_groups_are_rows_and_small_ones_are_marked(summaries):
    groups = build_tables(summaries[0])[2]
    rows = [tuple(entry.text for entry in row) for row in groups.rows if row[0].text == "Hit@10"]
    # Ranks of users 1 and 2 (head) by A: 1, 2, 1, 1; by B: 2, 20, 4, 4.
    head = 1 / 2, 2 / 2
    deviation = abs(head[1] - head[0]) / math.sqrt(2)
    assert rows[0] == ("Hit@10", f"{ALL} †", "4", "0.7500 ± 0.0000", "0.3750 ± 0.1768")
    assert rows[4] == ("Hit@10", "head †", "2", "1.0000 ± 0.0000", f"0.7500 ± {deviation:.4f}")
    assert [row[1] for row in rows] == [
        f"{ALL} †", "history 3 to 5 †", "history 6 to 10 †", "history 11 to 20 †",
        "head †", "middle †", "tail †", "under 5 in training †", "5 or more in training †",
        "tie †", "non-tie †",
    ]  # fmt: skip
    text = as_text(groups)
    assert "*: the best of the row." in text
    assert "†: fewer than 20 users: their means say little." in text
    assert r"head $^{\dagger}$ & 2 & " in as_latex([groups])


def test_a_split_by_one_moment_has_a_table_of_what_was_known_at_the_cut(tmp_path):
    grid = read_grid(
        flags={
            "datasets": ["toy"], "models": ["A", "B"], "seeds": [1, 2], "metrics": ["Hit@10"],
            "baseline": "B",
        }
    )  # fmt: skip
    moment = {"training_ends": 7, "test_without_history": 1234}
    outcomes = [outcome(tmp_path, *cell.key[1:], one_moment=moment) for cell in grid.cells()]
    summaries = summarize(grid, outcomes)
    table = next(table for table in build_tables(summaries[0]) if table.kind == "cut")
    # All targets were in the training part; of two of them five interactions or more.
    assert table.columns == (
        "metric", "model", "all targets † (4)", "known at the cut † (4)",
        "5 or more before the cut † (2)", "new at the cut † (0)",
    )  # fmt: skip
    rows = [tuple(entry.text for entry in row) for row in table.rows]
    assert rows[0] == ("Hit@10", "A", "0.7500 ± 0.0000", "0.7500 ± 0.0000", "1.0000 ± 0.0000", "-")
    assert [entry.best for entry in table.rows[0]] == [False, False, True, True, True, False]
    notes = " ".join(table.notes)
    assert "A five-core data set flatters freshness" in notes
    assert "1,234 interactions of the test part are the first of their user" in notes
    write_tables(summaries, tmp_path / "out")
    assert "known at the cut" in (tmp_path / "out" / "table_cut.tex").read_text(encoding="utf-8")


def test_every_line_of_a_markdown_table_has_as_many_fields(summaries):
    for table in build_tables(summaries[1]):
        lines = [line for line in as_markdown(table).splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {len(table.columns) + 1}


def test_a_terminal_gets_bold_and_columns_stay_in_line(summaries):
    results = build_tables(summaries[0])[0]
    bold = as_text(results, bold=True)
    assert "\033[1m0.7500 ± 0.0000*" in bold
    assert bold.replace("\033[1m", "").replace("\033[0m", "").split() == as_text(results).split()


def test_csv_has_every_number_with_all_its_digits(summaries):
    records = list(csv.DictReader(io.StringIO(as_csv(csv_records(summaries)))))
    assert len(records) == 2 * 3 * 2 * (1 + len(GROUP_NAMES))  # candidates, models, metrics
    first = records[0]
    assert (first["model"], first["metric"], first["group"]) == ("A", "MRR@10", ALL)
    assert float(first["mean"]) == summaries[0].rows[0].scores[ALL, "MRR@10"].mean
    failed = [record for record in records if record["model"] == "C"]
    assert {record["reason"] for record in failed} == {"it has no & column"}
    assert {record["mean"] for record in failed} == {""}


@pytest.mark.parametrize("what", ["users", "targets", "items"])
def test_a_run_that_was_tested_otherwise_is_no_row(tmp_path, what):
    grid = read_grid(
        flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1, 2], "baseline": "B"}
    )
    facts = {("A", 2): {"n_items": 8}} if what == "items" else {}
    outcomes = [
        outcome(tmp_path, *cell.key[1:], **{"n_items": 9, **facts.get(cell.key[1:], {})})
        for cell in grid.cells()
    ]
    if what != "items":
        (tmp_path / "A2" / "test_ranks.npz").unlink()
        (tmp_path / "A2").rmdir()
        users = [*USERS[:3], "u5"] if what == "users" else USERS
        targets = ["i", "i", "i", "j"] if what == "targets" else None
        write_ranks(tmp_path / "A2", RANKS["A", 2], users, targets)
    row, baseline = summarize(grid, outcomes)[0].rows
    assert (row.seeds, baseline.seeds) == ((1,), (1, 2))
    assert "seed 2: it was tested on other users, targets or items than B" in row.reason
    assert row.scores[ALL, "MRR@10"].mean == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)


def test_rows_are_compared_over_the_seeds_that_both_have(tmp_path):
    grid = read_grid(
        flags={
            "datasets": ["toy"],
            "models": ["A", "B", "D"],
            "seeds": [1, 2],
            "metrics": ["MRR@10"],
        }
    )
    outcomes = [outcome(tmp_path, *cell.key[1:]) for cell in grid.cells()]
    # D is A, but its second seed has failed.
    outcomes[2] = dataclasses.replace(
        outcomes[2], folder=outcomes[0].folder, record=outcomes[0].record
    )
    summary = summarize(grid, outcomes)[0]
    row = summary.rows[2]
    assert (row.seeds, row.shared_seeds) == ((1,), (1,))
    assert row.relative["MRR@10"] == 0
    assert row.tests["MRR@10"][0].difference == 0
    results, tests, _ = build_tables(summary)
    sentence = "D is compared with A over seed 1 alone, which both have."
    assert sentence in results.notes
    assert sentence in tests.notes
    # A's mean over two seeds is the best of the rows that have both.
    assert [entry.best for entry in (row[2] for row in results.rows[:2])] == [True, False]


def test_the_note_of_a_row_is_a_footnote(tmp_path):
    models = [{"label": "A", "model": "A", "note": "with all its components off"}, "B"]
    grid = read_grid(flags={"datasets": ["toy"], "models": models, "seeds": [1]})
    results = build_tables(
        summarize(grid, [outcome(tmp_path, *cell.key[1:]) for cell in grid.cells()])[0]
    )[0]
    assert "A: with all its components off." in results.notes


def test_one_seed_is_no_mean(tmp_path):
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1]})
    outcomes = [outcome(tmp_path, *cell.key[1:], n_items=1234) for cell in grid.cells()]
    note = build_tables(summarize(grid, outcomes)[0])[0].notes[0]
    assert note.startswith("Seed 1; 4 test targets, one ranking of all 1,234 items each;")


def test_what_makes_rows_less_comparable_is_said(tmp_path):
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1]})
    outcomes = [
        outcome(tmp_path, "A", 1, jobs=2),
        outcome(tmp_path, "B", 1, machine="other", git_revision="h"),
    ]
    notes = " ".join(summarize(grid, outcomes)[0].notes)
    assert "different machines or threads (m; other)" in notes
    assert "Several runs went at once" in notes
    assert "different revisions of the code (g, h)" in notes
    assert "max_cpu_minutes" not in notes


def test_runs_that_their_budget_has_ended_are_named(tmp_path):
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1, 2]})
    ends = {("A", 1): "budget", ("A", 2): "budget", ("B", 1): "epochs", ("B", 2): "validation"}
    outcomes = [outcome(tmp_path, *key, ended_by=how) for key, how in ends.items()]
    notes = summarize(grid, outcomes)[0].notes
    assert "Ended by max_cpu_minutes, before validation stopped them: A (seed 1, 2)." in notes


def test_a_row_of_mmsr_says_which_variant_it_is(tmp_path):
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "MMSR"], "seeds": [1]})
    other = outcome(tmp_path, "B", 1)
    (other.folder / "config.yaml").write_text("qkv_mode: tied\nasy_second_phase: official\n")
    cell = Cell("toy", "MMSR", "MMSR", {}, 1)
    outcomes = [outcome(tmp_path, "A", 1), dataclasses.replace(other, cell=cell)]
    notes = summarize(grid, outcomes)[0].notes
    assert "MMSR: qkv_mode tied, asy_second_phase official." in notes


def test_a_row_whose_data_made_another_form_of_its_model_says_so(tmp_path):
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1]})
    outcomes = [
        outcome(tmp_path, "A", 1),
        outcome(tmp_path, "B", 1, variant="IISAN (one layer), since its features have no layers"),
    ]
    notes = summarize(grid, outcomes)[0].notes
    assert "B: IISAN (one layer), since its features have no layers." in notes
    assert "variant" in FACTS  # what a line of the results keeps of a run's metrics


def test_a_torn_line_is_left_out_and_the_next_starts_anew(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    append_line(path, {"fingerprint": "1"})
    with path.open("a") as file:
        file.write('{"fingerprint": "2", "va')
    append_line(path, {"fingerprint": "3"})
    assert [record["fingerprint"] for record in read_results(path)] == ["1", "3"]
    assert "line 2 is torn" in caplog.text


def test_lists_are_a_table_of_their_own_where_a_run_has_measured_them(tmp_path, summaries):
    assert not any(table.kind == "lists" for one in summaries for table in build_tables(one))
    grid = read_grid(flags={"datasets": ["toy"], "models": ["A", "B"], "seeds": [1, 2]})
    lists = {
        1: {"include": {"coverage@10": 0.2, "gini@10": 0.5}, "exclude": {"coverage@10": 0.4}},
        2: {"include": {"coverage@10": 0.4, "gini@10": 0.7}, "exclude": {"coverage@10": 0.6}},
    }
    folder = tmp_path / "more"
    found = summarize(
        grid,
        [
            outcome(folder, "A", 1, lists=lists[1]), outcome(folder, "A", 2, lists=lists[2]),
            outcome(folder, "B", 1), outcome(folder, "B", 2),
        ],
    )  # fmt: skip
    include, exclude = (
        next(table for table in build_tables(one) if table.kind == "lists") for one in found
    )
    assert include.columns == ("model", "coverage@10", "gini@10")
    assert [[entry.text for entry in row] for row in include.rows] == [
        ["A", "0.3000 ± 0.1414", "0.6000 ± 0.1414"], ["B", "-", "-"]
    ]  # fmt: skip
    assert [entry.text for entry in exclude.rows[0]] == ["A", "0.5000 ± 0.1414"]
    means = {
        (record["rank_history"], record["metric"]): record["mean"]
        for record in csv_records(found)
        if record["model"] == "A"
    }
    assert means["exclude", "coverage@10"] == pytest.approx(0.5)
    assert "table_lists.tex" in {path.name for path in write_tables(found, tmp_path)}
