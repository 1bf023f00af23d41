"""Node states: the affine map equals the concatenation of the paper."""

import pytest
import torch
from helpers import fill_parameters

from recbole_hm4sr.model.mmsr.node_encoder import NodeEncoder, NodeMap, position_weights

D = 4


@pytest.fixture
def tables():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, D, generator=generator, dtype=torch.float64) for rows in (9, 3)]


@pytest.fixture
def positions():
    return torch.randn(5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


IDS = torch.tensor([2, 1])
OCCURRENCE = torch.tensor([[True, False, True, False, False], [False, True, False, False, False]])


def test_position_weights_average_the_occurrences():
    weights = position_weights(OCCURRENCE, torch.float64)
    expected = torch.tensor([[0.5, 0, 0.5, 0, 0], [0, 1.0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=1e-8, atol=0)
    assert position_weights(torch.zeros(1, 5, dtype=torch.bool), torch.float32).sum() == 0


@pytest.mark.parametrize("use_node_type", [True, False])
@pytest.mark.parametrize("use_position", [True, False])
def test_state_is_the_projected_concatenation(tables, positions, use_node_type, use_position):
    encoder = NodeEncoder(
        hidden_size=D, n_node_types=2, use_node_type=use_node_type, use_position=use_position
    ).double()
    fill_parameters(encoder)
    weights = position_weights(OCCURRENCE, torch.float64)
    for kind, node_map in enumerate(encoder(tables, positions)):
        parts = [tables[kind][IDS]]
        if use_node_type:
            parts.append(encoder.type_embedding[kind].expand(2, D))
        if use_position:
            parts.append(torch.stack([positions[[0, 2]].mean(dim=0), positions[1]]))
        expected = torch.cat(parts, dim=-1)
        if use_node_type or use_position:
            expected = expected @ encoder.input_projection
        states = node_map.states(IDS, weights)
        torch.testing.assert_close(states, expected, rtol=1e-7, atol=1e-8)


def test_without_type_and_position_there_is_no_projection():
    encoder = NodeEncoder(hidden_size=D, n_node_types=2, use_node_type=False, use_position=False)
    assert list(encoder.parameters()) == []


def test_a_projection_that_follows_folds_into_the_map(tables, positions):
    generator = torch.Generator().manual_seed(2)
    weight, projection = torch.randn(2, D, D, generator=generator, dtype=torch.float64)
    node_map = NodeMap(tables[0], weight=weight, offset=tables[1][0], positions=positions)
    weights = position_weights(OCCURRENCE, torch.float64)
    expected = node_map.states(IDS, weights) @ projection
    torch.testing.assert_close(node_map.then(projection).states(IDS, weights), expected)
    bare = NodeMap(tables[0])
    expected = tables[0][IDS] @ projection
    torch.testing.assert_close(bare.then(projection).states(IDS, weights), expected)


def test_projecting_the_table_first_changes_nothing(tables, positions):
    """A map projects whichever is smaller, its table or the rows looked up."""
    node_map = NodeMap(tables[1], weight=torch.eye(D).double() * 2, positions=positions)
    few, many = torch.tensor([2]), torch.tensor([2, 2, 2, 2])
    weights = position_weights(OCCURRENCE[:1], torch.float64)
    states = node_map.states(many, weights.expand(4, 5))
    torch.testing.assert_close(states, node_map.states(few, weights).expand(4, D))


@pytest.mark.parametrize("n_ids", [1, 8], ids=["rows first", "table first"])
def test_padding_sends_no_gradient(n_ids):
    table = torch.ones(3, D, requires_grad=True)
    ids = torch.tensor([0, 1]).repeat(n_ids)
    node_map = NodeMap(table, weight=torch.eye(D))
    node_map.states(ids, torch.zeros(len(ids), 5)).sum().backward()
    assert table.grad.tolist() == [[0.0] * D, [float(n_ids)] * D, [0.0] * D]
