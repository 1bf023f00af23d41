"""The last item's neighbourhood, found without building the graph."""

import torch

from recbole_hm4sr.model.mmsr.graph import BOTH, FOLLOWS, NO_EDGE, PRECEDES, SELF
from recbole_hm4sr.model.mmsr.graph_fast import last_item_graph

# Item 1 has codes {1, 2}, item 2 code {2}, the others none.
LINKS = torch.zeros(10, 1, 2, dtype=torch.int64)
LINKS[1, 0] = torch.tensor([1, 2])
LINKS[2, 0] = torch.tensor([2, 0])


def graph_of(*sequences):
    length = max(map(len, sequences))
    padded = [items + [0] * (length - len(items)) for items in sequences]
    lengths = torch.tensor([len(items) for items in sequences])
    return last_item_graph(torch.tensor(padded), lengths, LINKS)


def relations_of(items):
    """Item to relation of the last item to it."""
    graph = graph_of(items)
    pairs = zip(graph.nodes[0].ids[0, :, 0].tolist(), graph.relations[0].tolist(), strict=True)
    return {item: relation for item, relation in pairs if relation != NO_EDGE}


def test_without_repeats_the_neighbourhood_is_the_last_two_items():
    assert relations_of([5, 6, 7, 8]) == {8: SELF, 7: FOLLOWS}


def test_earlier_occurrences_bring_their_neighbours():
    # 5 → 8 → 6 → 7 → 8
    assert relations_of([5, 8, 6, 7, 8]) == {8: SELF, 5: FOLLOWS, 6: PRECEDES, 7: FOLLOWS}


def test_a_neighbour_on_both_sides_has_one_slot():
    assert relations_of([6, 8, 6, 8]) == {8: SELF, 6: BOTH}


def test_an_item_repeated_in_a_row_is_no_neighbour_of_itself():
    assert relations_of([5, 8, 8, 8]) == {8: SELF, 5: FOLLOWS}


def test_a_single_item_is_alone_beside_a_longer_sequence():
    graph = graph_of([3], [4, 5])
    assert graph.relations.tolist() == [[SELF, NO_EDGE], [SELF, FOLLOWS]]


def test_a_batch_of_single_items_has_no_neighbour_slot():
    assert graph_of([3], [4]).relations.tolist() == [[SELF], [SELF]]


def test_codes_occur_wherever_an_item_has_them():
    graph = graph_of([2, 5, 1])
    codes = graph.nodes[1]
    assert codes.ids.tolist() == [[[1, 2], [0, 0]]]  # of items 1 and 5
    assert codes.occurrence.int().tolist() == [[[[0, 0, 1], [1, 0, 1]], [[0, 0, 0], [0, 0, 0]]]]
