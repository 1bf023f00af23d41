"""Charts: axes, curves, bars and columns by hand."""

import pytest

from recbole_hm4sr.page.bar_chart import horizontal_bars
from recbole_hm4sr.page.charts import axis_ticks, line_chart
from recbole_hm4sr.page.column_chart import column_chart


def chart(x, series, **options):
    return line_chart(
        "t", x, series, x_title="epoch", y_title="value", explained="What it says.", **options
    )


def bars_of(rows, x_title="m", **options):
    return horizontal_bars("t", rows, x_title=x_title, explained="What it says.", **options)


def columns_of(counts, x_title):
    return column_chart("t", counts, x_title=x_title, y_title="users", explained="What it says.")


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
        ([1], {"whole": True}, (0, 1)),
        ([10], {"whole": True}, (0, 5, 10)),
        ([100], {"whole": True}, (0, 25, 50, 75, 100)),
    ],
)
def test_ticks_enclose_the_values(values, options, ticks):
    assert axis_ticks(values, **options) == pytest.approx(ticks)


def test_negative_pieces_lie_left_of_zero():
    result = bars_of([("a", [1.0, -1.0, 2.0], "2")], pieces=["p", "q", "r"])
    first, second, third = result.rows[0].pieces
    assert first.x == result.zero
    assert second.x + second.width == pytest.approx(result.zero, abs=0.2)
    assert third.x == pytest.approx(first.x + first.width, abs=0.2)
    assert third.width == pytest.approx(2 * first.width, abs=0.2)
    assert second.tip == "a\nq: -1"


def test_whiskers_and_their_numbers():
    result = bars_of([("a", [0.5], "0.5"), ("b", [1.0], "1")], intervals=[(0.0, 1.0), None])
    low, high = result.rows[0].whisker
    assert low == result.zero
    assert high == pytest.approx(result.rows[1].pieces[0].x + result.rows[1].pieces[0].width)
    assert result.rows[1].whisker is None
    assert result.numbers.rows == (("a", "0.5", "0 to 1", "0.5"), ("b", "1", "\u2013", "1"))


def test_columns_start_at_zero_and_have_whole_ticks():
    result = columns_of([("a", 0), ("b", 1), ("c", 2)], "x")
    assert [label for _, label in result.y_ticks] == ["0", "1", "2"]
    heights = [column.height for column in result.columns]
    assert heights == [0, (result.bottom - result.top) / 2, result.bottom - result.top]
    assert {column.y + column.height for column in result.columns} == {result.bottom}
    assert result.bands[1].tip == "x: b\nusers: 1"
    assert result.numbers.rows == (("a", "0"), ("b", "1"), ("c", "2"))


def test_many_columns_stay_in_the_picture_and_not_every_one_has_a_label():
    counts = [(f"2020-01-{day:02d}", 10_000 * day) for day in range(1, 31)]
    result = columns_of(counts, "from")
    assert result.columns[0].x >= result.left
    assert result.columns[-1].x + result.columns[-1].width <= result.right
    # At most 12 labels: every third of 30.
    assert [tick.label[-2:] for tick in result.x_ticks] == [f"{d:02d}" for d in range(1, 31, 3)]
    assert result.slanted
    assert result.y_ticks[-1][1] == "300,000"


def test_faint_rows_and_labels_are_marked():
    bars = bars_of([("a", [1.0], ""), ("b", [2.0], "")], faint=[1])
    assert [row.faint for row in bars.rows] == [False, True]
    lines = chart(["a", "b"], {"m": [1.0, 2.0]}, faint={0})
    assert [tick.faint for tick in lines.x_ticks] == [True, False]
    assert [band.faint for band in lines.bands] == [True, False]


def test_a_long_label_is_cut_in_the_picture_and_whole_in_the_table():
    name = "a category with a name of forty letters."
    bars = bars_of([(name, [1.0], "1")])
    assert bars.rows[0].label == name[:21] + "\u2026"
    assert bars.rows[0].pieces[0].tip.startswith(name)
    assert bars.numbers.rows[0][0] == name


def test_a_group_of_few_users_does_not_squash_the_others():
    rows = [("3 to 5", [0.05], "0.050"), ("6 to 10", [0.08], "0.080"), ("51 or more", [0.7], "")]
    intervals = [(0.04, 0.06), None, (0.2, 1.0)]
    bars = bars_of(rows, faint=[2], intervals=intervals)
    assert bars.x_ticks[-1][1] == "0.08"  # and not 1
    right = bars.x_ticks[-1][0]
    small = bars.rows[2]
    assert small.pieces[0].x + small.pieces[0].width == pytest.approx(right, abs=0.2)
    assert small.whisker == (right, right)
    assert [row.beyond for row in bars.rows] == [None, None, right]
    assert bars.numbers.rows[2][1:3] == ("0.7", "0.2 to 1")
    lines = chart(["a", "b", "c"], {"m": [0.05, 0.08, 0.7]}, faint={2})
    assert lines.y_ticks[-1][1] == "0.08"
    assert len(lines.lines[0].dots) == 2
    assert lines.numbers.rows[2] == ("c", "0.7")


def test_where_all_groups_are_small_the_axis_is_theirs():
    bars = bars_of([("a", [0.5], ""), ("b", [1.0], "")], faint=[0, 1])
    assert bars.x_ticks[-1][1] == "1"
    assert [row.beyond for row in bars.rows] == [None, None]
    assert chart(["a"], {"m": [2.0]}, faint={0}).y_ticks[-1][1] == "2"


def test_labels_of_the_ticks_have_room():
    wide = bars_of([("a label of twenty-two.", [0.0123], "0.0123 (12,345)")])
    # 360 less 14 + 7 x 22 for the labels and 10 + 7 x 15 for the texts: 77 for three labels.
    assert [label for _, label in wide.x_ticks] == ["0", "0.01", "0.02"]
    narrow = bars_of([("a", [0.0123], "")])
    assert [label for _, label in narrow.x_ticks] == ["0", "0.005", "0.01", "0.015"]


def test_the_title_of_an_axis_stays_in_the_picture():
    title = "a title of an axis that is forty letters"
    bars = bars_of([("a label of twenty-two.", [1.0], "1")], title)
    assert bars.title_x + 7 * len(title) / 2 <= bars.width
    assert bars.title_x - 7 * len(title) / 2 >= 0


def test_labels_that_are_aslant_begin_in_the_picture():
    days = [f"2020-01-{day:02d}" for day in range(1, 31)]
    for result in (columns_of([(day, 1) for day in days], "from"), chart(days, {"a": [1.0] * 30})):
        assert result.slanted
        # Ten letters of 7 at 40 degrees are 53.6 wide.
        assert result.x_ticks[0].x >= 53.6
    assert chart([1, 2], {"a": [1.0, 1.0]}).left == 26 + 7 * 4  # room for "0.25" alone
