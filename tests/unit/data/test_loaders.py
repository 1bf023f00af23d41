"""Segments: every target once, with as much history as the segment allows."""

import pytest
import torch
from logs import histories_in_order, samples_of

from recbole_hm4sr.data.loaders import cut_segments


def walks_of(lengths):
    users = [user for user, length in enumerate(lengths) for _ in range(length)]
    return samples_of(histories_in_order(user=users, time=range(len(users))), max_length=8)


@pytest.mark.parametrize("max_length", [1, 2, 5, 8])
def test_every_target_is_trained_once(max_length):
    samples = walks_of([1, 2, 3, 8, 9, 10, 13, 14, 40])
    segments = cut_segments(samples, max_length)
    assert (segments.ends - segments.begins).max() <= max_length
    trained = [
        position
        for first, end in zip(segments.first_targets, segments.ends, strict=True)
        for position in range(int(first), int(end) + 1)
    ]
    assert sorted(trained) == samples.targets.tolist()


def test_a_long_history_is_cut_with_half_a_segment_of_history():
    # 11 interactions, 10 inputs, L 4: targets 1..4, then two more at a time.
    segments = cut_segments(walks_of([11]), 4)
    rows = torch.stack([segments.begins, segments.ends, segments.first_targets], dim=1)
    assert rows.tolist() == [[0, 4, 1], [2, 6, 5], [4, 8, 7], [6, 10, 9]]


def test_a_history_that_fits_is_one_segment():
    segments = cut_segments(walks_of([5, 3]), 4)
    assert segments.begins.tolist() == [0, 5]
    assert segments.ends.tolist() == [4, 7]
    assert segments.first_targets.tolist() == [1, 6]
