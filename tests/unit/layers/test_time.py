"""Gaps and moments."""

import math

import pytest
import torch

from recbole_hm4sr.layers.time import GapBuckets, TimeEncoding, bucketize_gaps, count_buckets


def test_buckets_are_logarithmic():
    # 10 * log2(gap + 1), rounded down: log2(1) = 0, log2(2) = 1, log2(4) = 2, log2(1025) = 10.001
    gaps = torch.tensor([0, 1, 3, 1024])
    assert bucketize_gaps(gaps, buckets_per_doubling=10, n_buckets=999).tolist() == [0, 10, 20, 100]


def test_long_gaps_share_the_last_bucket():
    gaps = torch.tensor([2**40, 2**50])
    assert bucketize_gaps(gaps, buckets_per_doubling=10, n_buckets=50).tolist() == [49, 49]


def test_the_table_has_a_row_for_the_longest_gap():
    n_buckets = count_buckets(10**7, 100)
    # The bucket of the longest gap, found with integers: the largest k with 2^k <= (gap + 1)^100.
    assert n_buckets - 1 == ((10**7 + 1) ** 100).bit_length() - 1


@pytest.mark.parametrize("gap", [2**k + d for k in (7, 20, 33) for d in (-2, -1, 0, 1)])
def test_buckets_at_powers_of_two_are_exact(gap):
    exact = ((gap + 1) ** 100).bit_length() - 1
    found = bucketize_gaps(torch.tensor([gap]), buckets_per_doubling=100, n_buckets=10**6)
    assert found.item() == exact


def encoding(**settings):
    defaults = {"hidden_size": 4, "longest_gap": 1000, "buckets_per_doubling": 1.0, "origin": 0}
    module = TimeEncoding(**{**defaults, "scale": 1.0, **settings})
    with torch.no_grad():
        rows = torch.arange(module.interval_embedding.num_embeddings).float()
        module.interval_embedding.weight.copy_(rows[:, None].expand(-1, 4))
        module.frequency.fill_(1.0)
        module.phase.fill_(0.5)
    return module


def test_the_first_of_each_sequence_has_gap_bucket_zero():
    times = torch.tensor([100, 107, 900, 901])
    encoded = encoding()(times, torch.tensor([0, 1, 0, 1]))
    # log2(7 + 1) = 3 and log2(1 + 1) = 1; the gap from one sequence to the next is none.
    assert encoded[:, 0].tolist() == [0, 3, 0, 1]


def test_the_moment_is_a_decaying_cosine():
    encoded = encoding(origin=90, scale=10.0)(torch.tensor([120]), torch.tensor([0]))
    # t = (120 - 90) / 10 = 3; dimension d is slowed by 10000^(-d / 4).
    expected = [math.cos((3 + 0.5) * 10000 ** (-d / 4)) for d in range(4)]
    assert encoded[0, 4:].tolist() == pytest.approx(expected, abs=1e-6)


def test_one_second_is_seen_in_2024():
    times = torch.tensor([1_718_000_000, 1_718_000_001])
    encoded = encoding()(times, torch.tensor([0, 1]))
    # float32 would hold both as the same number of seconds.
    expected = [math.cos(1_718_000_000.5), math.cos(1_718_000_001.5)]
    assert encoded[:, 4].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("buckets_per_doubling", [100, 7.3, 1])
def test_buckets_are_exact_at_every_edge(buckets_per_doubling):
    n_buckets = count_buckets(10**9, buckets_per_doubling)
    layer = GapBuckets(buckets_per_doubling=buckets_per_doubling, n_buckets=n_buckets)
    numbers = range(int(31 * buckets_per_doubling))
    edges = torch.tensor([round(2 ** (b / buckets_per_doubling)) for b in numbers])
    gaps = torch.cat([edges - 2, edges - 1, edges, edges + 1, 2 ** torch.arange(40)]).clamp(min=0)
    expected = bucketize_gaps(gaps, buckets_per_doubling=buckets_per_doubling, n_buckets=n_buckets)
    assert torch.equal(layer(gaps), expected)


def test_the_first_gaps_mend_a_logarithm_that_is_off_by_one_bucket(monkeypatch):
    layer = GapBuckets(buckets_per_doubling=100, n_buckets=count_buckets(10**6, 100))
    gaps = torch.arange(5000)
    expected = torch.tensor([math.floor(100 * math.log2(gap + 1)) for gap in range(5000)])
    # 2^k - 1 is the first gap of bucket 100 k: there floor(100 log2) may come out one too small.
    exact = torch.log2
    monkeypatch.setattr(torch, "log2", lambda x: exact(x) * (1 - 1e-15))
    assert torch.equal(layer(gaps)[:1000], expected[:1000])
    assert layer(torch.tensor([1023])).item() == 1000
