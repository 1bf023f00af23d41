"""The graph of a sequence: slots, relations, neighbours, on sequences small enough to draw."""

import pytest
import torch

from recbole_hm4sr.model.mmsr.graph import (
    BOTH,
    FOLLOWS,
    NO_EDGE,
    PRECEDES,
    SELF,
    build_sequence_graph,
    distinct_nodes,
    transition_relations,
)


def items_graph(*sequences):
    item_seq = torch.tensor(sequences)
    return build_sequence_graph(item_seq, torch.zeros(*item_seq.shape, 0, 1, dtype=torch.int64))


def test_each_distinct_id_has_one_slot_in_rising_order():
    ids = torch.tensor([[[7], [2], [7], [0]], [[3], [0], [0], [0]]])
    slots = distinct_nodes(ids)
    assert slots.ids.tolist() == [[2, 7], [3, 0]]
    assert slots.occurrence.int().tolist() == [
        [[0, 1, 0, 0], [1, 0, 1, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 0]],
    ]


def test_an_item_without_codes_adds_no_slot():
    slots = distinct_nodes(torch.tensor([[[1, 4], [0, 0], [4, 0]]]))
    assert slots.ids.tolist() == [[1, 4]]
    assert slots.occurrence.int().tolist() == [[[1, 0, 0], [1, 0, 1]]]


def test_nothing_at_all_gives_no_slot():
    assert distinct_nodes(torch.zeros(2, 3, 1, dtype=torch.int64)).ids.shape == (2, 0)


def test_relations_say_what_precedes_what():
    # 1 → 2 → 3 → 2: 1 precedes 2, and 2 and 3 occur in both orders
    relations = items_graph([1, 2, 3, 2]).relations[0][0]
    assert relations.tolist() == [
        [SELF, PRECEDES, NO_EDGE],
        [FOLLOWS, SELF, BOTH],
        [NO_EDGE, BOTH, SELF],
    ]


def test_repeating_an_item_is_no_transition():
    assert items_graph([4, 4, 4]).relations[0].tolist() == [[[SELF]]]


def test_padding_is_no_successor():
    relations = items_graph([1, 2, 0, 0], [3, 0, 0, 0]).relations[0]
    assert relations[0].tolist() == [[SELF, PRECEDES], [FOLLOWS, SELF]]
    assert relations[1].tolist() == [[SELF, NO_EDGE], [NO_EDGE, NO_EDGE]]


def test_codes_follow_each_other_as_their_items_do():
    # items 1, 2 with codes {1, 2} and {2, 3}: 1→2, 1→3, 2→3; 2→2 is no edge
    occurrence = torch.tensor([[[1, 0], [1, 1], [0, 1]]], dtype=torch.bool)
    relations = transition_relations(occurrence, torch.tensor([[True]]))[0]
    assert relations.tolist() == [
        [SELF, PRECEDES, PRECEDES],
        [FOLLOWS, SELF, PRECEDES],
        [FOLLOWS, FOLLOWS, SELF],
    ]


def test_codes_of_a_repeated_item_do_not_follow_each_other():
    occurrence = torch.ones(1, 2, 2, dtype=torch.bool)
    relations = transition_relations(occurrence, torch.tensor([[False]]))[0]
    assert relations.tolist() == [[SELF, NO_EDGE], [NO_EDGE, SELF]]


def test_heterogeneous_neighbours_share_an_item():
    # item 1: code 1 of the first modality, none of the second; item 2: codes 2 and 1
    code_seq = torch.tensor([[[[1], [0]], [[2], [1]]]])
    graph = build_sequence_graph(torch.tensor([[1, 2]]), code_seq)
    assert graph.type_sizes == [2, 2, 1]
    assert graph.neighbours[0].int().tolist() == [
        # i1 i2 a1 a2 b1
        [1, 0, 1, 0, 0],
        [0, 1, 0, 1, 1],
        [1, 0, 1, 0, 0],
        [0, 1, 0, 1, 1],
        [0, 1, 0, 1, 1],
    ]


def test_shapes_must_belong_together():
    with pytest.raises(ValueError, match=r"B, L = \(1, 3\), got \(1, 2, 1, 1\)"):
        build_sequence_graph(torch.ones(1, 3, dtype=torch.int64), torch.ones(1, 2, 1, 1))
