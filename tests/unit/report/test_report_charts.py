"""Charts: axes, curves, bars and groups by hand."""

import numpy as np
import pytest

from recbole_hm4sr.report.bar_chart import horizontal_bars
from recbole_hm4sr.report.buckets import (
    GAPS,
    HISTORY,
    POPULARITY,
    day_of_week,
    hour_of_day,
    month_of_year,
)
from recbole_hm4sr.report.charts import axis_ticks, line_chart
from recbole_hm4sr.report.format import gap_text, moment, percent, seconds_text
from recbole_hm4sr.report.groups import group_scores


def chart(x, series, **options):
    return line_chart("t", x, series, x_title="epoch", y_title="value", **options)


def test_curves_start_at_zero_and_end_at_a_round_value():
    result = chart([1, 2, 3], {"a": [0.0, 0.4, 0.75]}, marker=3)
    assert [label for _, label in result.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8"]
    first, _, last = result.lines[0].path.split("L")
    assert first.strip() == f"M{float(result.left)} {float(result.bottom)}"
    # 0.75 of 0.8: 15/16 of the way from bottom to top.
    height = result.bottom - result.top
    assert float(last.split()[1]) == round(result.bottom - height * 15 / 16, 1)
    assert result.marker == result.right


def test_a_missing_value_breaks_the_curve():
    result = chart([1, 2, 3, 4], {"a": [1.0, None, 0.5, 1.0]})
    assert result.lines[0].path.count("M") == 2
    assert len(result.lines[0].dots) == 3
    assert result.numbers.rows[1] == ("2", "\u2013")
    assert result.bands[1].tip == "epoch: 2\na: \u2013"


def test_bands_cover_the_axis_without_gaps():
    result = chart(["Mon", "Tue", "Wed"], {"a": [1.0, 2.0, 3.0]})
    assert result.bands[0].x == result.left
    for before, after in zip(result.bands, result.bands[1:], strict=False):
        assert before.x + before.width == pytest.approx(after.x, abs=0.2)
    assert result.bands[-1].x + result.bands[-1].width == pytest.approx(result.right, abs=0.2)


def test_one_epoch_stands_in_the_middle():
    result = chart([5], {"a": [2.0]})
    assert result.lines[0].dots[0][0] == (result.left + result.right) / 2


@pytest.mark.parametrize(
    ("values", "options", "ticks"),
    [
        ([], {}, (0, 0.25, 0.5, 0.75, 1)),
        ([0, 0], {}, (0, 0.25, 0.5, 0.75, 1)),
        ([3], {}, (0, 1, 2, 3)),
        ([-0.3, 0.9], {"n_steps": 3}, (-0.5, 0, 0.5, 1)),
        ([6.31, 6.48], {"from_zero": False}, (6.3, 6.35, 6.4, 6.45, 6.5)),
        ([5.0, 5.0], {"from_zero": False}, (0, 2, 4, 6)),
    ],
)
def test_ticks_enclose_the_values(values, options, ticks):
    assert axis_ticks(values, **options) == pytest.approx(ticks)


def test_negative_pieces_lie_left_of_zero():
    result = horizontal_bars(
        "t", [("a", [1.0, -1.0, 2.0], "2")], x_title="score", pieces=["p", "q", "r"]
    )
    first, second, third = result.rows[0].pieces
    assert first.x == result.zero
    assert second.x + second.width == pytest.approx(result.zero, abs=0.2)
    assert third.x == pytest.approx(first.x + first.width, abs=0.2)
    assert third.width == pytest.approx(2 * first.width, abs=0.2)
    assert second.tip == "a\nq: -1"


def test_whiskers_and_their_numbers():
    result = horizontal_bars(
        "t",
        [("a", [0.5], "0.5"), ("b", [1.0], "1")],
        x_title="m",
        intervals=[(0.0, 1.0), None],
    )
    low, high = result.rows[0].whisker
    assert low == result.zero
    assert high == pytest.approx(result.rows[1].pieces[0].x + result.rows[1].pieces[0].width)
    assert result.rows[1].whisker is None
    assert result.numbers.rows == (("a", "0.5", "0 to 1", "0.5"), ("b", "1", "\u2013", "1"))


def test_groups_by_hand():
    # Two users with 3 to 5 items, one with 60.
    scores = group_scores(np.array([0.0, 0.5, 1.0]), np.array([4, 5, 60]), HISTORY)
    assert [(s.label, s.n_users, s.mean) for s in scores] == [
        ("3 to 5", 2, 0.25),
        ("51 or more", 1, 1.0),
    ]
    # 0.25 ± 1.96 · 0.3536 / √2, cut at 0.
    assert scores[0].interval == pytest.approx((0.0, 0.25 + 1.96 * 0.25))
    assert scores[1].interval is None


@pytest.mark.parametrize("buckets", [GAPS, HISTORY, POPULARITY])
def test_every_bucket_begins_at_its_edge(buckets):
    assert len(buckets.edges) == len(buckets.labels)
    edges = np.array(buckets.edges)
    assert buckets.number(edges).tolist() == list(range(len(edges)))
    assert buckets.number(edges[1:] - 1).tolist() == list(range(len(edges) - 1))


def test_the_calendar_by_pandas():
    import pandas as pd

    times = np.random.default_rng(1).integers(-(10**9), 4 * 10**9, size=500)
    stamps = pd.to_datetime(times, unit="s", utc=True)
    assert hour_of_day(times).tolist() == stamps.hour.tolist()
    assert day_of_week(times).tolist() == stamps.day_of_week.tolist()
    assert month_of_year(times).tolist() == (stamps.month - 1).tolist()


def test_words():
    assert moment(1_609_475_146) == "2021-01-01 04:25"
    assert moment(1_609_475_146, whole_days=True) == "2021-01-01"
    gaps = (None, 0, 45, 60, 1500, 7200, 90_000, 259_200, 3 * 365 * 86400)
    words = ["", "same time", "+ 45 s", "+ 1 min", "+ 25 min", "+ 2 h", "+ 25 h", "+ 3 days"]
    assert [gap_text(gap) for gap in gaps] == [*words, "+ 3 years"]
    assert [seconds_text(s) for s in (0.04, 92, 1200, 4000)] == [
        "0.04 s",
        "92 s",
        "20 min",
        "1 h 7 min",
    ]
    assert [percent(share) for share in (0, 0.004, 0.66)] == ["0 %", "0.4 %", "66 %"]
