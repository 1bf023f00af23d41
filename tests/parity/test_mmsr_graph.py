"""The batched graph builder against the authors' builder, node by node and edge by edge."""

import numpy as np
import pytest
import torch
from parity.mmsr_reference import recorded, recorded_batch, recorded_links

from recbole_hm4sr.model.mmsr.graph import build_sequence_graph

pytestmark = pytest.mark.parity

# Heterogeneous relation of a receiving to a sending node type, which our layer needs not tell apart
HETEROGENEOUS = {(1, 2): 5, (2, 1): 6, (1, 3): 7, (3, 1): 8, (2, 3): 9, (3, 2): 10}


def typed_nodes(graph, row):
    """The nodes of one of our graphs as (type, id) in slot order, None for an empty slot."""
    nodes = []
    for kind, slots in enumerate(graph.slots, start=1):
        nodes += [(kind, int(index)) if index > 0 else None for index in slots.ids[row]]
    return nodes


def typed_relations(graph, row, nodes):
    """Our relations in the authors' numbering, ``[N, N]``."""
    blocks = [block[row].numpy() for block in graph.relations]
    relations = np.zeros((len(nodes), len(nodes)), dtype=np.int64)
    start = 0
    for block in blocks:
        stop = start + len(block)
        relations[start:stop, start:stop] = block
        start = stop
    for i, j in np.argwhere(graph.neighbours[row].numpy()):
        if i != j:
            relations[i, j] = HETEROGENEOUS[nodes[i][0], nodes[j][0]]
    return relations


@pytest.mark.parametrize("k", [1, 3])
def test_graphs_equal_the_authors(k):
    official, batch = recorded(f"graph_k{k}"), recorded_batch(k)
    links = recorded_links(k)
    graph = build_sequence_graph(batch["item_id_list"], links[batch["item_id_list"]])
    occurrence = torch.cat([slots.occurrence for slots in graph.slots], dim=1).numpy()
    first_code = {
        1: 0,
        2: official["n_items"] - 1,
        3: official["n_items"] + official["n_codes"] - 1,
    }
    for row in range(len(official["item_seq"])):
        nodes = typed_nodes(graph, row)
        real = official["node_type"][row] > 0
        theirs = [
            (int(kind), int(index - first_code[int(kind)]))
            for kind, index in zip(
                official["node_type"][row][real], official["nodes"][row][real], strict=True
            )
        ]
        assert sorted(node for node in nodes if node) == sorted(theirs)
        assert graph.active[row].tolist() == [node is not None for node in nodes]
        order = [nodes.index(node) for node in theirs]
        ours = typed_relations(graph, row, nodes)[np.ix_(order, order)]
        n_real = len(theirs)
        np.testing.assert_array_equal(ours, official["adj"][row][:n_real, :n_real])
        length = occurrence.shape[2]
        np.testing.assert_array_equal(
            occurrence[row][order], official["node_pos"][row][:n_real, :length]
        )
        empty = [slot for slot, node in enumerate(nodes) if node is None]
        assert not graph.neighbours[row][empty].any()
        assert not occurrence[row][empty].any()
