"""Packed tokens: what stands where."""

import pytest
import torch

from recbole_hm4sr.layers.packing import build_packing


def test_tokens_stand_sequence_after_sequence():
    packing = build_packing(torch.tensor([2, 1, 3]), 4)
    padded = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 0]])
    assert packing.pack(padded).tolist() == [1, 2, 3, 4, 5, 6]
    assert packing.sequence.tolist() == [0, 0, 1, 2, 2, 2]
    assert packing.position.tolist() == [0, 1, 0, 0, 1, 2]
    assert packing.last.tolist() == [1, 2, 5]


@pytest.mark.parametrize("lengths", [[1], [50], [1, 50, 9, 9, 17, 4, 33, 2], [7] * 5])
def test_every_token_is_in_one_bucket_and_found_again(lengths):
    packing = build_packing(torch.tensor(lengths), 50)
    n_tokens = sum(lengths)
    assert torch.cat([b.sequences for b in packing.buckets]).sort().values.tolist() == list(
        range(len(lengths))
    )
    places = torch.cat([b.tokens.flatten() for b in packing.buckets])
    real = torch.cat([b.is_token.flatten() for b in packing.buckets])
    assert places[packing.from_buckets].tolist() == list(range(n_tokens))
    assert real[packing.from_buckets].all()
    assert int(real.sum()) == n_tokens
    rows = torch.cat([b.sequences for b in packing.buckets])
    assert rows[packing.sequence_from_buckets].tolist() == list(range(len(lengths)))


def test_buckets_keep_padding_small():
    # Every length from 1 to 50 once: 1,275 tokens; one padded block would hold 2,500 places.
    packing = build_packing(torch.arange(1, 51), 50)
    assert sum(b.tokens.numel() for b in packing.buckets) < 1.2 * 1275
