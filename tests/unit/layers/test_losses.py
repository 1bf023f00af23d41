"""The auxiliary losses, by hand."""

import math

import pytest
import torch

from recbole_hm4sr.layers.losses import (
    category_prediction,
    draw_placeholders,
    loss_rows,
    plan_placeholders,
)
from recbole_hm4sr.layers.packing import build_packing


def draw(packing, ratio, *, every_prefix=False):
    """True where a token is chosen."""
    places = draw_placeholders(plan_placeholders(packing, ratio, every_prefix=every_prefix))
    return torch.zeros(len(packing.sequence), dtype=torch.bool).index_fill(0, places, value=True)


def test_category_loss_is_the_mean_over_tokens():
    # Items with logits 0 and 2 for one category that both have; the first stands at 3 of 4 tokens.
    logits, flags = torch.tensor([[0.0], [2.0]]), torch.ones(2, 1, dtype=torch.uint8)
    loss = category_prediction(logits, flags, torch.tensor([3, 1]))
    expected = (3 * math.log(2) + math.log(1 + math.exp(-2))) / 4
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.3, [0, 0, 1, 3]), (1.0, [1, 3, 4, 10]), (0, [0] * 4)]
)
def test_a_share_of_each_sequence_is_chosen_rounded_down(ratio, expected):
    packing = build_packing(torch.tensor([1, 3, 4, 10]), 10)
    chosen = draw(packing, ratio)
    counts = torch.zeros(4, dtype=torch.int64).index_add(0, packing.sequence, chosen.long())
    assert counts.tolist() == expected


def test_every_position_is_chosen_equally_often():
    packing = build_packing(torch.full((4000,), 10), 10)
    chosen = draw(packing, 0.3).view(4000, 10)
    # 4,000 draws of 3 of 10: mean 1,200, standard deviation sqrt(4000 * 0.3 * 0.7) = 29.
    assert (chosen.sum(dim=0) - 1200).abs().max() < 5 * 29
    assert not torch.equal(chosen[0], chosen[1]) or not torch.equal(chosen[1], chosen[2])


def test_no_prefix_has_more_than_its_share():
    # At 0.3 a prefix may have one from position 3 on, two from 6 on, three from 9 on.
    packing = build_packing(torch.full((4000,), 11), 11)
    chosen = draw(packing, 0.3, every_prefix=True).view(4000, 11)
    counts = chosen.sum(dim=0)
    assert counts[:3].tolist() == [0, 0, 0]
    for first, end in ((3, 6), (6, 9), (9, 11)):
        assert (chosen[:, first:end].sum(dim=1) == 1).all()
        share = 1 / (end - first)
        deviation = math.sqrt(4000 * share * (1 - share))
        assert (counts[first:end] - 4000 * share).abs().max() < 5 * deviation


def test_pairs_with_the_same_target_are_named_both_ways():
    rows = loss_rows(torch.tensor([7, 3, 7, 9]))
    assert rows.excluded.nonzero().tolist() == [[0, 2], [2, 0]]
