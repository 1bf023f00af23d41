"""Another sample with the same target: never the sample itself, each other one as often."""

from collections import Counter

import torch

from recbole_hm4sr.data.histories import Histories
from recbole_hm4sr.data.same_targets import find_same_targets

#        user 1      user 2         user 3
ITEMS = [3, 5, 7, 7, 5, 7, 3, 2, 5, 9, 7]
TIMES = list(range(100, 111))
STARTS = [0, 0, 0, 0, 4, 4, 4, 4, 4, 9, 9]
TARGETS = [1, 2, 3, 5, 6, 8, 10]  # all but the first items, and the 2


def samples():
    columns = {"item": torch.tensor(ITEMS), "time": torch.tensor(TIMES)}
    histories = Histories(columns, torch.tensor(STARTS))
    shuffled = torch.tensor(TARGETS)[[4, 0, 6, 2, 5, 1, 3]]
    return find_same_targets(histories, shuffled, "item", "time", 2)


def test_every_other_sample_of_the_target_is_drawn_as_often():
    found, draws = samples(), (torch.arange(300).double() + 0.5) / 300
    for position in (2, 3, 5, 10):  # the four samples of item 7
        partners = found.partners(torch.full((300,), position), draws)
        others = {2, 3, 5, 10} - {position}
        assert Counter(partners.tolist()) == dict.fromkeys(others, 100)


def test_of_two_samples_each_has_the_other_and_one_alone_itself():
    found = samples()
    positions = torch.tensor([1, 8, 6])  # item 5 twice; item 3 is a target once
    for draw in (0.0, 0.5, 1 - 1e-16):
        draws = torch.full((3,), draw, dtype=torch.float64)
        assert found.partners(positions, draws).tolist() == [8, 1, 6]


def test_a_window_is_what_comes_before_the_partner():
    draws = torch.zeros(2, dtype=torch.float64)
    items, times, lengths = samples().windows(torch.tensor([1, 8]), draws)
    assert items.tolist() == [[3, 2], [3, 0]]
    assert times.tolist() == [[106, 107], [100, 0]]
    assert lengths.tolist() == [2, 1]
