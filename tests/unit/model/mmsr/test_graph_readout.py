"""Read-outs: what is summed, and what a short sequence does."""

import pytest
import torch
from helpers import fill_parameters

from recbole_hm4sr.model.mmsr.readout import (
    AttentionReadout,
    LastAttentionReadout,
    LastReadout,
    MeanReadout,
    build_readout,
)

STATES = torch.tensor([[[1.0, 2], [3, 4], [0, 0]], [[5, 6], [7, 8], [9, 1]]], dtype=torch.float64)
LENGTHS = torch.tensor([2, 3])
POSITIONS = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], dtype=torch.float64)


def test_last_takes_the_last_real_position():
    assert LastReadout()(STATES, LENGTHS, None).tolist() == [[3, 4], [9, 1]]


def test_mean_leaves_padding_out():
    expected = [[(1 + 3) / 2, (2 + 4) / 2], [(5 + 7 + 9) / 3, (6 + 8 + 1) / 3]]
    assert MeanReadout()(STATES, LENGTHS, None).tolist() == expected


def aware(readout, row, position):
    """m_l of the paper: tanh([P_l; h_l] W_1)."""
    both = torch.cat([POSITIONS[position], STATES[row, position]])
    return (both @ readout.position_aware.projection).tanh()


def test_attention_weighs_each_state_by_its_score():
    readout = AttentionReadout(hidden_size=2).double()
    fill_parameters(readout)
    users = readout(STATES, LENGTHS, POSITIONS)
    for row, length in enumerate(LENGTHS.tolist()):
        mean = STATES[row, :length].mean(dim=0)
        expected = 0
        for position in range(length):
            hidden = readout.local(aware(readout, row, position)) + readout.context(mean)
            expected = expected + readout.score(hidden.sigmoid()) * STATES[row, position]
        torch.testing.assert_close(users[row], expected)


def test_last_attention_sums_three_gated_states_the_first_one_repeatedly():
    readout = LastAttentionReadout(hidden_size=2).double()
    fill_parameters(readout)
    users = readout(STATES, LENGTHS, POSITIONS)
    for row, used in enumerate([(1, 0, 0), (2, 1, 0)]):
        mean = STATES[row, : LENGTHS[row]].mean(dim=0)
        expected = sum(readout.gate(aware(readout, row, position), mean) for position in used)
        torch.testing.assert_close(users[row], expected)


@pytest.mark.parametrize(
    ("seq_pooling", "kind"),
    [
        ("last", LastReadout),
        ("mean", MeanReadout),
        ("attention", AttentionReadout),
        ("last_attention", LastAttentionReadout),
    ],
)
def test_each_name_builds_its_readout(seq_pooling, kind):
    assert type(build_readout(seq_pooling, hidden_size=2)) is kind
