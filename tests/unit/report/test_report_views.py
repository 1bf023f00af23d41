"""A run that was measured in several ways: a row for each, and NDCG by week after training."""

import re
import shutil

import numpy as np
import pytest
from runfiles import write_ranks, write_run

from recbole_hm4sr.page.format import NONE
from recbole_hm4sr.report.comparison import write_comparison
from recbole_hm4sr.report.lists import lists_section
from recbole_hm4sr.report.page import write_report
from recbole_hm4sr.report.run_files import read_run
from recbole_hm4sr.report.views import views_section, weeks_section

ENDS, WEEK = 1_600_000_000, 7 * 86400
SETTINGS = """\
dataset: toy
memory: events
memory_refresh: [none, request]
request_time: target
timestamp_unit: s
eval_args: {split: {GT: [0.8, 0.1, 0.1]}, targets: visits}
"""
# Whole weeks after training of each target: two in the first, one in the third, one in the fourth.
TIMES = ENDS + np.array([0, WEEK - 1, 2 * WEEK, 3 * WEEK + 5])
RANKS = {"none": np.array([1, 3, 11, 1]), "request": np.array([1, 1, 2, 11])}


def view(ranks, **metrics):
    return {
        "best_epoch": 2,
        "best_valid_score": 0.1,
        "valid": {"ndcg@10": 0.11},
        "test": {},
        "test_include": {"ndcg@10": 0.21, "hit@10": 0.31, **metrics},
        "test_exclude": {"ndcg@10": 0.41},
        "ranks": ranks,
    }


def write_views(folder, **changes):
    views = {
        "none": view("test_ranks.npz"),
        "request": {**view("test_ranks-request.npz", **{"ndcg@10": 0.77}), "best_epoch": 1},
    }
    facts = {
        "model": "Momento",
        "views": views,
        "one_moment": {"training_ends": ENDS, "test_without_history": 3},
    }
    write_run(folder, settings=SETTINGS, **{**facts, **changes})
    write_ranks(folder, target_time=TIMES, rank_include=RANKS["request"])
    shutil.move(folder / "test_ranks.npz", folder / "test_ranks-request.npz")
    write_ranks(folder, target_time=TIMES, rank_include=RANKS["none"])
    return folder


def test_each_view_has_a_row_and_the_pictured_one_is_named(tmp_path):
    folder = write_views(tmp_path / "run")
    section = views_section(read_run(folder))
    (table,) = section.tables
    assert table.columns == (
        "", "best epoch", "validation NDCG@10", "test NDCG@10, seen items kept",
        "test Hit@10, seen items kept", "test NDCG@10, seen items removed",
    )  # fmt: skip
    assert table.rows == (
        ("memory frozen", "2", "0.1100", "0.2100", "0.3100", "0.4100"),
        ("memory to the request", "1", "0.1100", "0.7700", "0.3100", "0.4100"),
    )
    assert lists_section(read_run(folder)) is None  # nobody has asked for them
    page = " ".join(write_report(folder).read_text(encoding="utf-8").split())
    assert "pictures of this page are of the first, memory frozen, unless" in page
    assert "measured in several ways; what follows is of memory frozen where nothing" in page
    assert "0.7700" in page


def test_ndcg_is_shown_week_by_week_after_training(tmp_path):
    run = read_run(write_views(tmp_path / "run"))
    section = weeks_section({"Momento": run})
    (chart,) = section.charts
    # A rank of 1 is worth 1, 2: 1 / log2(3) = .6309, 3: 1 / log2(4) = .5, 11: nothing.
    assert chart.numbers.columns == (
        "age of the model, weeks", "Momento, memory frozen", "Momento, memory to the request",
    )  # fmt: skip
    rows = [(row[0], *(None if it == "\u2013" else float(it) for it in row[1:]))
            for row in chart.numbers.rows]  # fmt: skip
    assert rows == [
        ("0", 0.75, 1.0),
        ("1", None, None),
        ("2", 0.0, pytest.approx(0.6309, abs=1e-3)),
        ("3", 1.0, 0.0),
    ]
    assert section.notes  # weeks of one or two users are grey
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "NDCG@10 week by week after training" in page


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (SETTINGS.replace("visits", "last"), {}),
        ("dataset: toy\n", {"one_moment": None, "views": {}}),
        (SETTINGS, {"one_moment": None}),
    ],
)
def test_other_splits_have_no_weeks(tmp_path, settings, changes):
    folder = write_views(tmp_path / "run", **changes)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    assert weeks_section({"Momento": read_run(folder)}) is None


def test_times_in_milliseconds_and_ranks_of_older_runs(tmp_path):
    moment = {"training_ends": 1000 * ENDS, "test_without_history": 0}
    folder = write_views(tmp_path / "run", one_moment=moment)
    (folder / "config.yaml").write_text(SETTINGS.replace("unit: s", "unit: ms"), encoding="utf-8")
    section = weeks_section({"Momento": read_run(folder)})
    assert [row[0] for row in section.charts[0].numbers.rows] == ["0", "1", "2", "3"]
    write_ranks(folder)  # without times
    assert weeks_section({"Momento": read_run(folder)}).charts[0].numbers.columns[1:] == (
        "Momento, memory to the request",
    )


def test_a_run_with_one_way_has_one_line_and_no_row(tmp_path):
    folder = write_views(tmp_path / "run", views={})
    assert views_section(read_run(folder)) is None
    (chart,) = weeks_section({"Momento": read_run(folder)}).charts
    assert chart.numbers.columns[1:] == ("Momento",)
    assert "several ways" not in write_report(folder).read_text(encoding="utf-8")


def test_a_comparison_has_a_line_for_each_run_and_view(tmp_path):
    one, other = write_views(tmp_path / "one"), write_views(tmp_path / "other", views={})
    text = write_comparison([one, other], tmp_path / "page.html").read_text(encoding="utf-8")
    page = " ".join(text.split())
    for name in ("one, memory frozen", "one, memory to the request", "other"):
        assert re.search(rf"<th[^>]*>{name}</th>", page), name
    assert "by the way it was measured" in page


def test_lists_have_a_row_for_each_view(tmp_path):
    lists = {"include": {"coverage@10": 0.25, "gini@10": 0.5}, "exclude": {"coverage@10": 0.75}}
    other = {"include": {"coverage@10": 0.125}}
    views = {
        "none": {**view("test_ranks.npz"), "lists": lists},
        "request": {**view("test_ranks-request.npz"), "lists": other},
    }
    folder = write_views(tmp_path / "run", views=views, lists=lists)
    include, exclude = lists_section(read_run(folder)).tables
    assert include.columns == ("", "Coverage@10", "Gini@10")
    assert include.rows == (
        ("memory frozen", "0.2500", "0.5000"), ("memory to the request", "0.1250", NONE),
    )  # fmt: skip
    assert (exclude.caption, exclude.rows) == ("seen items removed", (("memory frozen", "0.7500"),))
    assert "What the lists are like" in write_report(folder).read_text(encoding="utf-8")
