"""Numbers, shares, moments and lengths of time in words."""

import pytest

from recbole_hm4sr.page.column_chart import range_labels
from recbole_hm4sr.page.format import day, duration, gap_text, moment, number_text, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0, "0"),
        (-0.04, "-0.04"),
        (0.123456, "0.1235"),
        (12_345, "12,345"),
        (12_345.6, "12,346"),
        (1e20, "1e+20"),
    ],
)
def test_numbers_have_four_digits_or_all_of_a_whole_one(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 5, "0 %"),
        (0, 0, "0 %"),
        (1, 10_000, "< 0.1 %"),
        (-1, 10_000, "> -0.1 %"),
        (0.004, 1, "0.4 %"),
        (0.66, 1, "66 %"),
        (0.985, 1, "98.5 %"),
        (9_999, 10_000, "> 99.9 %"),
        (5, 5, "100 %"),
        (3, 2, "150 %"),
        (-0.25, 1, "-25 %"),
    ],
)
def test_a_share_shows_neither_0_nor_100_for_what_is_not_quite_so(part, whole, text):
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0.04 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (1200, "20 min"),
        (4000, "67 min"),
        (9000, "2.5 h"),
        (90_000, "25 h"),
        (3 * 86400, "3 days"),
        (3 * 365 * 86400, "3 years"),
    ],
)
def test_a_length_of_time_has_its_natural_unit(seconds, text):
    assert duration(seconds) == text
    assert gap_text(seconds) == (f"+ {text}" if seconds else "same time")


def test_moments_are_utc():
    assert gap_text(None) == ""
    assert moment(1_609_475_146) == "2021-01-01 04:25"
    assert moment(1_609_475_146, whole_days=True) == day(1_609_475_146) == "2021-01-01"
    assert moment(1e30) == f"{1e30:.0f} s"


def test_ranges_end_where_the_next_begins():
    assert range_labels([1, 2, 3, 6]) == ["1", "2", "3 to 5", "6 or more"]
    assert range_labels([]) == []
