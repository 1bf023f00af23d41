"""The heterogeneous graph of a batch of sequences, built on the device in batched tensor ops.

A sequence becomes one small graph. Its nodes are its distinct items and the distinct codes of those
items, one node type for the items and one for each modality; its edges say which items and codes
belong together and which follow each other. Every function here works on a whole batch at once and
loops over node types only.

Dimension key, where it adds to that of the package or differs:

    M modalities · k links of an item to the codes of one modality · U slots of one node type ·
    N slots of all node types together

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Homogeneous relations of a receiving node i (row) to a sending node j (column).
NO_EDGE = 0
SELF = 1
PRECEDES = 2  # i occurs directly before j somewhere, never the reverse
FOLLOWS = 3  # i occurs directly after j somewhere, never the reverse
BOTH = 4
N_RELATIONS = 4


class NodeSlots(NamedTuple):
    """The distinct nodes of one type in each sequence, one slot each.

    Attributes:
        ids: Node of each slot, counted from 1; 0 where the slot is empty. Shape ``[B, U]``, int64.
        occurrence: ``True`` where the slot's node belongs to the item at that position. Shape
            ``[B, U, L]``, bool.
    """

    ids: Tensor
    occurrence: Tensor


class SequenceGraph(NamedTuple):
    """One heterogeneous graph a sequence, in slots: items first, then each modality's codes.

    Attributes:
        slots: The slots of each node type, items first.
        relations: For each block of slots along the diagonal the homogeneous relation of row to
            column; no homogeneous edge leaves its block. Shape ``[B, U, U]`` each, int64.
        neighbours: ``True`` where the column is a heterogeneous neighbour of the row, or the row
            itself. Shape ``[B, N, N]``, bool.
        active: ``True`` where the slot holds a node. Shape ``[B, N]``, bool.
    """

    slots: tuple[NodeSlots, ...]
    relations: tuple[Tensor, ...]
    neighbours: Tensor
    active: Tensor

    @property
    def type_sizes(self) -> list[int]:
        """Slots of each node type, in slot order."""
        return [slots.ids.shape[1] for slots in self.slots]


def build_sequence_graph(item_seq: Tensor, code_seq: Tensor) -> SequenceGraph:
    """Build the graph of every sequence.

    Args:
        item_seq: Items, oldest first; 0 is padding, on the right. Shape ``[B, L]``, int64.
        code_seq: Codes of those items for each modality, counted from 1; 0 where an item has no
            (further) code, and at padding. Shape ``[B, L, M, k]``, int64.

    Returns:
        The graphs, with as many slots of each type as the richest sequence of the batch needs.

    Raises:
        ValueError: If the shapes do not belong together.

    Differs from the authors' code:
        There, a Python loop builds each graph in a loader process, and an item that lacks a
        modality breaks it. Here such an item simply has no code node of that type.
    """
    if code_seq.shape[:2] != item_seq.shape:
        raise ValueError(
            f"code_seq must have shape [B, L, M, k] with B, L = {tuple(item_seq.shape)}, "
            f"got {tuple(code_seq.shape)}"
        )
    slots = [distinct_nodes(item_seq.unsqueeze(-1))]
    slots += [distinct_nodes(codes) for codes in code_seq.unbind(dim=2)]
    # A step between two equal items is no transition, for the items and for their codes alike.
    is_step = (item_seq[:, 1:] > 0) & (item_seq[:, 1:] != item_seq[:, :-1])
    relations = [transition_relations(node.occurrence, is_step) for node in slots]
    return SequenceGraph(
        slots=tuple(slots),
        relations=tuple(relations),
        neighbours=_heterogeneous_neighbours(slots),
        active=torch.cat([node.ids for node in slots], dim=1) > 0,
    )


def distinct_nodes(ids: Tensor) -> NodeSlots:
    """Give each distinct id of a sequence a slot, in rising order of the ids.

    Args:
        ids: Ids at each position; 0 is none. Shape ``[B, L, k]``, int64.

    Returns:
        Slots; their number U is the largest number of distinct ids in one sequence.
    """
    ordered = ids.flatten(1).sort(dim=1).values
    is_new = ordered > 0
    is_new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    rank = is_new.cumsum(dim=1)  # [B, L k], counted from 1; the zeros stand in front, at rank 0
    n_slots = int(rank[:, -1].max())
    slot_ids = ordered.new_zeros(len(ids), n_slots + 1).scatter(1, rank, ordered)[:, 1:]
    belongs = (slot_ids[:, :, None, None] == ids.unsqueeze(1)).any(dim=-1)
    return NodeSlots(ids=slot_ids, occurrence=belongs & (slot_ids > 0).unsqueeze(-1))


def transition_relations(occurrence: Tensor, is_step: Tensor) -> Tensor:
    """Relations between the nodes of one type: which of them occur directly after which.

    Args:
        occurrence: As in :class:`NodeSlots`. Shape ``[B, U, L]``, bool.
        is_step: ``True`` where position l + 1 follows position l and holds another item. Shape
            ``[B, L - 1]``, bool.

    Returns:
        Relation of row to column, :data:`NO_EDGE` to :data:`BOTH`. Shape ``[B, U, U]``, int64.

    Differs from the authors' code:
        There, the relation is updated transition by transition; the result depends neither on
        their order nor on their number, so it is computed here in one product.
    """
    leaving = (occurrence[:, :, :-1] & is_step.unsqueeze(1)).float()
    arriving = occurrence[:, :, 1:].float()
    itself = torch.eye(occurrence.shape[1], dtype=torch.bool, device=occurrence.device)
    precedes = ((leaving @ arriving.mT) > 0) & ~itself
    follows = precedes.mT
    relations = PRECEDES * precedes + FOLLOWS * follows
    relations = relations.masked_fill(precedes & follows, BOTH)
    return relations + SELF * (itself & occurrence.any(dim=-1).unsqueeze(-1))


def _heterogeneous_neighbours(slots: Sequence[NodeSlots]) -> Tensor:
    """Nodes of different types that belong to one item, and every node with itself."""
    occurrence = torch.cat([node.occurrence for node in slots], dim=1).float()
    together = (occurrence @ occurrence.mT) > 0  # [B, N, N]
    sizes = torch.tensor([node.ids.shape[1] for node in slots], device=occurrence.device)
    node_type = torch.arange(len(slots), device=sizes.device).repeat_interleave(sizes)
    itself = torch.eye(len(node_type), dtype=torch.bool, device=sizes.device)
    return together & (itself | (node_type.unsqueeze(0) != node_type.unsqueeze(1)))
