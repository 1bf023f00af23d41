"""Packing and unpacking lose nothing, whatever the lengths; compared with plain loops."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_hm4sr.layers.losses import draw_placeholders, plan_placeholders
from recbole_hm4sr.layers.packing import build_packing

LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=30)


def numbered(lengths, max_length):
    """A padded batch in which token k of sequence b is 1000 b + k + 1, padding 0."""
    batch = torch.zeros(len(lengths), max_length, dtype=torch.int64)
    for row, length in enumerate(lengths):
        batch[row, :length] = 1000 * row + torch.arange(1, length + 1)
    return batch


def packed_by_loops(lengths):
    return [1000 * row + k for row, length in enumerate(lengths) for k in range(1, length + 1)]


@given(lengths=LENGTHS, more=st.integers(0, 5))
def test_tokens_stand_side_by_side_in_order(lengths, more):
    longest = max(lengths) + more
    packing = build_packing(torch.tensor(lengths), longest)
    tokens = packing.pack(numbered(lengths, longest))
    assert tokens.tolist() == packed_by_loops(lengths)
    assert packing.sequence.tolist() == [t // 1000 for t in tokens.tolist()]
    assert packing.position.tolist() == [t % 1000 - 1 for t in tokens.tolist()]
    assert tokens[packing.last].tolist() == [1000 * b + n for b, n in enumerate(lengths)]


@given(lengths=LENGTHS)
def test_spreading_and_collecting_give_the_tokens_back(lengths):
    packing = build_packing(torch.tensor(lengths), max(lengths))
    tokens = packing.pack(numbered(lengths, max(lengths)))
    blocks = packing.spread(tokens)
    assert packing.collect(blocks).equal(tokens)
    for bucket, block in zip(packing.buckets, blocks, strict=True):
        for row, sequence in enumerate(bucket.sequences.tolist()):
            inside = block[row][bucket.padding_bias[row] == 0].tolist()
            assert inside == [1000 * sequence + k + 1 for k in range(lengths[sequence])]
    rows = sorted(int(b) for bucket in packing.buckets for b in bucket.sequences)
    assert rows == list(range(len(lengths)))


@given(lengths=LENGTHS)
def test_one_vector_a_sequence_comes_back_too(lengths):
    packing = build_packing(torch.tensor(lengths), max(lengths))
    vectors = torch.arange(2.0 * len(lengths)).view(-1, 2)
    assert packing.collect_sequences(packing.spread_sequences(vectors)).equal(vectors)


@given(lengths=LENGTHS, ratio=st.floats(0, 1), every_prefix=st.booleans())
def test_each_sequence_has_its_share_of_placeholders_rounded_down(lengths, ratio, every_prefix):
    packing = build_packing(torch.tensor(lengths), max(lengths))
    places = draw_placeholders(plan_placeholders(packing, ratio, every_prefix=every_prefix))
    assert places.diff().gt(0).all()
    counts = torch.bincount(packing.sequence[places], minlength=len(lengths))
    assert counts.tolist() == [int(ratio * length) for length in lengths]
    if every_prefix:
        chosen = torch.zeros(sum(lengths)).index_fill(0, places, 1)
        for own in chosen.split(lengths):
            so_far = own.cumsum(0).tolist()
            assert all(count <= int(ratio * n) for n, count in enumerate(so_far, start=1))
