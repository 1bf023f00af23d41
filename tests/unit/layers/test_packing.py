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
    real = torch.cat([(b.padding_bias == 0).flatten() for b in packing.buckets])
    assert places[packing.from_buckets].tolist() == list(range(n_tokens))
    assert real[packing.from_buckets].all()
    assert int(real.sum()) == n_tokens
    rows = torch.cat([b.sequences for b in packing.buckets])
    assert rows[packing.sequence_from_buckets].tolist() == list(range(len(lengths)))


def test_buckets_keep_padding_small():
    # Every length from 1 to 50, 40 times: 51,000 tokens; one padded block would hold 100,000.
    packing = build_packing(torch.arange(1, 51).repeat(40), 50)
    assert sum(b.tokens.numel() for b in packing.buckets) < 1.2 * 51_000


def test_a_few_short_sequences_share_a_bucket_with_longer_ones():
    # 100 of length 2 beside one of length 6 would have 400 places of padding; 200, 800.
    assert len(build_packing(torch.tensor([2] * 100 + [6]), 50).buckets) == 1
    assert len(build_packing(torch.tensor([2] * 200 + [6]), 50).buckets) == 2


@pytest.mark.parametrize("lengths", [[1], [1, 50, 9, 9, 17, 4, 33, 2], [2] * 300 + [40]])
def test_what_is_spread_is_collected_again(lengths):
    packing = build_packing(torch.tensor(lengths), 50)
    tokens, users = torch.randn(sum(lengths), 3), torch.randn(len(lengths), 3)
    assert torch.equal(packing.collect(packing.spread(tokens)), tokens)
    assert torch.equal(packing.collect_sequences(packing.spread_sequences(users)), users)
    last = [
        block[torch.arange(len(block)), (rows.padding_bias == 0).sum(dim=1) - 1]
        for block, rows in zip(packing.spread(tokens), packing.buckets, strict=True)
    ]
    assert torch.equal(packing.collect_sequences(last), tokens[packing.last])
