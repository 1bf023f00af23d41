"""Histories as a model reads them."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_hm4sr.serve.histories import number_histories
from recbole_hm4sr.serve.history_table import histories_from_lists, number_items

ITEMS = pd.Index(["A", "B", "C"])  # 1, 2, 3


def numbered(histories, unit="s", keep=None):
    return number_histories(histories_from_lists(histories, unit), ITEMS, keep=keep)


def test_times_are_sorted_and_equal_ones_keep_their_order():
    known = numbered([(["C", "A", "B"], [9, 5, 5]), (["B"], [1])])
    assert known.items.tolist() == [1, 2, 3, 2]
    assert known.times.tolist() == [5, 5, 9, 1]
    assert known.starts.tolist() == [0, 3, 4]


def test_unknown_items_are_skipped_counted_and_named_once(caplog):
    with caplog.at_level(logging.WARNING):
        known = numbered([(["X", "A", "Y"], [1, 2, 3]), ([], []), (["X"], [1])])
    assert known.items.tolist() == [1]
    assert known.starts.tolist() == [0, 1, 1, 1]
    assert known.unknown.tolist() == [2, 0, 1]
    (record,) = caplog.records
    assert record.getMessage().startswith("3 of 4 interactions, of 2 users, are skipped")
    assert "2 items, e.g. 'X', 'Y'" in record.getMessage()


def test_milliseconds_order_and_stay():
    known = numbered([(["A", "B"], [1_700_000_000_900, 1_700_000_000_100])], unit="ms")
    assert known.items.tolist() == [2, 1]
    assert known.times.tolist() == [1_700_000_000_100, 1_700_000_000_900]


def test_blanks_at_the_ends_are_cut_and_other_spaces_are_letters():
    # The model knows " A" with its blank, as a file by hand has it, and "B" with a no-break space.
    items = pd.Index([" A", "A", "B", "B\u00a0", "\u2009C"])
    tokens = [" A", "A ", "\tB ", "B\u00a0", " B\u00a0", "\u2009C", "C", "\u00a0B"]
    assert number_items(np.array(tokens, dtype=object), items).tolist() == [1, 2, 3, 4, 4, 5, 0, 0]


@pytest.mark.parametrize(
    ("keep", "items"), [(None, [1, 2, 1]), ("first", [1, 2]), ("last", [2, 1])]
)
def test_repeated_items_stay_as_in_the_run(keep, items):
    assert numbered([(["A", "A", "B"], [1, 3, 2])], keep=keep).items.tolist() == items


def test_windows_hold_the_most_recent():
    known = numbered([(["A", "B", "C", "A"], [1, 2, 3, 4]), ([], []), (["B"], [7])])
    items, times, lengths = known.windows(torch.tensor([2, 0]), 3)
    assert items.tolist() == [[2, 0, 0], [2, 3, 1]]
    assert times.tolist() == [[7, 0, 0], [2, 3, 4]]
    assert lengths.tolist() == [1, 3]


def test_what_was_taken_reaches_beyond_the_window():
    known = numbered([(["A", "B", "C", "A"], [1, 2, 3, 4]), ([], []), (["B"], [7])])
    rows, items = known.taken(torch.tensor([2, 0]))
    assert rows.tolist() == [0, 1, 1, 1, 1]
    assert items.tolist() == [2, 1, 2, 3, 1]
