r"""The exact fast path: only what the last item's state depends on.

With one layer, the fusion ``asy_mask``, its official second phase and the last item read out, a
user's vector depends on the last item u, the items Nb(u) directly before and after any of its
occurrences (and u itself), and the codes of those items. With :math:`c(j)` the item j and its
codes,

.. math::
    h_j = \sum_{v \in c(j)} \mathrm{softmax}_v\, \mathrm{LReLU}(q_j^\top k_v)\, v_v, \qquad
    \mathrm{user} = \mathrm{gate}\Bigl(h_u, \sum_{j \in Nb(u)} \mathrm{softmax}_j\,
    \mathrm{LReLU}\bigl(a_{R_{uj}}^\top (h_u \odot h_j)\bigr)\, v_j\Bigr).

That is the same number as the whole graph's, at a small part of its cost: where no user repeats an
item, Nb(u) is the last two items.

Dimension key, beyond that of :mod:`recbole_hm4sr.model.mmsr.graph`:

    J slots for the last item and its neighbours · K = 1 + M k nodes of an item

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_hm4sr.model.mmsr.dual_attention import DualAttention, masked_softmax
from recbole_hm4sr.model.mmsr.graph import BOTH, FOLLOWS, NO_EDGE, PRECEDES, SELF, NodeSlots
from recbole_hm4sr.model.mmsr.node_encoder import NodeMap, position_weights


class LastItemGraph(NamedTuple):
    """The last item of each sequence, its neighbours, and the codes of them all.

    Attributes:
        relations: Relation of the last item to each candidate; slot 0 is the last item itself.
            Shape ``[B, J]``, int64.
        nodes: For each node type the nodes of each candidate: the item, then its codes of each
            modality. ``ids`` has shape ``[B, J, k]`` (k = 1 for the item), ``occurrence``
            ``[B, J, k, L]``.
    """

    relations: Tensor
    nodes: tuple[NodeSlots, ...]


def last_item_graph(item_seq: Tensor, item_seq_len: Tensor, code_links: Tensor) -> LastItemGraph:
    """Find the last item's neighbourhood in each sequence.

    Args:
        item_seq: Items, oldest first; 0 is padding, on the right. Shape ``[B, L]``, int64.
        item_seq_len: Real positions of each sequence, at least 1. Shape ``[B]``, int64.
        code_links: Codes of every item for each modality, counted from 1; 0 where an item has no
            (further) code. Shape ``[I, M, k]``, int64.

    Returns:
        The neighbourhoods; J is 1 + the largest number of positions next to the last item.
    """
    last = item_seq.gather(1, item_seq_len.unsqueeze(1) - 1)
    neighbours, relations = _neighbours_of(last, item_seq)
    items = torch.cat([last, neighbours], dim=1)  # [B, J]
    relations = torch.cat([torch.full_like(last, SELF), relations], dim=1)

    nodes = [_occurring(items.unsqueeze(-1), item_seq.unsqueeze(-1))]
    own_codes, all_codes = code_links[items], code_links[item_seq]
    for modality in range(code_links.shape[1]):
        nodes.append(_occurring(own_codes[:, :, modality], all_codes[:, :, modality]))
    return LastItemGraph(relations=relations, nodes=tuple(nodes))


def last_item_states(
    graph: LastItemGraph, inputs: Sequence[NodeMap], layer: DualAttention
) -> Tensor:
    """The layer's output at the last item.

    Args:
        graph: From :func:`last_item_graph`.
        inputs: The input states of each node type.
        layer: A layer with the fusion ``asy_mask`` and the official second phase.

    Returns:
        Shape ``[B, D]``. Equals the last item's row of the layer over the whole graphs.
    """
    queries, keys, values = _projected(graph, inputs, layer)
    scores = [(queries * key).sum(dim=-1) for key in keys]
    present = torch.cat([node.ids for node in graph.nodes], dim=-1) > 0  # [B, J, K]
    weights = masked_softmax(layer.activate(torch.cat(scores, dim=-1)), present)

    mixed = _average(layer.attn_dropout(weights), values)  # h, [B, J, D]
    # The two candidates of the gate drop out different attention weights, hence the second draw.
    homo_first = _average(layer.attn_dropout(weights[:, 0]), [value[:, 0] for value in values])

    by_relation = (mixed[:, :1] * mixed) @ layer.relation_vectors.mT  # [B, J, 4]
    chosen = (graph.relations - 1).clamp(min=0).unsqueeze(-1)
    content = layer.activate(by_relation.gather(-1, chosen).squeeze(-1))
    content = layer.attn_dropout(masked_softmax(content, graph.relations != NO_EDGE))
    hetero_first = _average(content, [values[0].squeeze(2)])  # node type 0: the items
    return layer.hidden_dropout(layer.gate(homo_first, hetero_first))


def _neighbours_of(last: Tensor, item_seq: Tensor) -> tuple[Tensor, Tensor]:
    """Items next to an occurrence of the last item, and its relation to them, ``[B, J - 1]``.

    An item that is a neighbour at several positions keeps one slot; the others become empty.
    """
    is_last = item_seq == last
    is_other = (item_seq > 0) & ~is_last
    comes_after = is_other & F.pad(is_last[:, :-1], (1, 0))
    comes_before = is_other & F.pad(is_last[:, 1:], (0, 1))
    adjacent = comes_after | comes_before

    n_slots = int(adjacent.sum(dim=1).max())
    position = adjacent.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :n_slots]
    items = (item_seq * adjacent).gather(1, position)
    equal = items.unsqueeze(2) == items.unsqueeze(1)  # [B, J - 1, J - 1]
    precedes = (equal & comes_after.gather(1, position).unsqueeze(1)).any(dim=2)
    follows = (equal & comes_before.gather(1, position).unsqueeze(1)).any(dim=2)

    relations = PRECEDES * precedes + FOLLOWS * follows
    relations = relations.masked_fill(precedes & follows, BOTH)
    repeated = equal.tril(diagonal=-1).any(dim=2)
    return items, relations.masked_fill(repeated | (items == 0), NO_EDGE)


def _occurring(ids: Tensor, seq_ids: Tensor) -> NodeSlots:
    """Where nodes ``[B, J, k]`` occur among those of the whole sequence ``[B, L, k]``."""
    same = ids[:, :, :, None, None] == seq_ids[:, None, None]
    return NodeSlots(ids=ids, occurrence=same.any(dim=-1) & (ids > 0).unsqueeze(-1))


def _projected(
    graph: LastItemGraph, inputs: Sequence[NodeMap], layer: DualAttention
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Queries of the items ``[B, J, 1, D]``, keys and values of all nodes ``[B, J, k, D]``."""
    dtype = layer.query_projection.dtype
    weights = [position_weights(node.occurrence, dtype) for node in graph.nodes]

    def states(projections: Tensor) -> list[Tensor]:
        return [
            node_map.then(projection).states(node.ids, weight)
            for node_map, projection, node, weight in zip(
                inputs, projections, graph.nodes, weights, strict=True
            )
        ]

    if layer.key_projection is None or layer.value_projection is None:
        tied = states(layer.query_projection)
        return tied[0], tied, tied
    queries = inputs[0].then(layer.query_projection[0]).states(graph.nodes[0].ids, weights[0])
    return queries, states(layer.key_projection), states(layer.value_projection)


def _average(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Weights ``[..., K]`` times values ``[..., k, D]``, the k of all types adding up to K."""
    parts = weights.split([value.shape[-2] for value in values], dim=-1)
    # Products and sums: on the CPU they are several times as fast as so many tiny matrix products.
    averages = [
        (part.unsqueeze(-1) * value).sum(dim=-2) for part, value in zip(parts, values, strict=True)
    ]
    return functools.reduce(torch.add, averages)
