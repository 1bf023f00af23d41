"""Pair terms of attention: a relation between two tokens, such as the time between them.

Nothing of shape ``[w, w, D]`` is made: a query's products with all rows of a table are looked up by
the relation, and attention weights are summed by the relation before they meet the table.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_hm4sr.layers.packing import Bucket
from recbole_hm4sr.layers.padded_rows import Arrangement


class RelationPairs:
    """A vector for each relation, added to keys and to values (TiSASRec).

    Args:
        relation: Relation of each query and key. Shape ``[b, q, w]``, int64, in ``[0, R)``.
        keys: What a relation adds to a key. Shape ``[R, D]``.
        values: What it adds to a value. Shape ``[R, D]``.
        bucket: Rows of the relation.

    Reference:
        Li, Wang, McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation",
        WSDM 2020.
    """

    def __init__(self, relation: Tensor, keys: Tensor, values: Tensor, bucket: Bucket) -> None:
        self._relation = relation
        self._keys = keys
        self._values = values
        self._bucket = bucket

    def scores(self, query: Tensor) -> Tensor:
        """Products of the queries with the keys of their relations."""
        keys = _per_head(self._keys, query.shape[1])  # [h, R, d]
        relation = self._relation[:, None].expand(-1, query.shape[1], -1, -1)
        return (query @ keys.mT).gather(-1, relation)  # [b, h, q, w]

    def values(self, weights: Tensor) -> Tensor:
        """The values of the relations, mixed by the attention weights."""
        values = _per_head(self._values, weights.shape[1])  # [h, R, d]
        relation = self._relation[:, None].expand_as(weights)
        total = weights.new_zeros(*weights.shape[:3], len(self._values))  # [b, h, q, R]
        return total.scatter_add(-1, relation, weights) @ values

    def at_last(self) -> "RelationPairs":
        """The relations of the newest position of each row."""
        last = self._bucket.last_position()[:, None, None].expand(-1, 1, self._relation.shape[2])
        newest = self._relation.gather(1, last)  # [b, 1, w]
        return RelationPairs(newest, self._keys, self._values, self._bucket)


def interval_pairs(
    times: Tensor, packing: Arrangement, keys: Tensor, values: Tensor
) -> Sequence[RelationPairs]:
    """The pairs of all buckets whose relation is the time between two tokens.

    Args:
        times: Whole numbers in the unit of the relation. Shape ``[T]``, int64.
        packing: Arrangement of the tokens.
        keys: A vector for each interval from 0, the last for all that are longer. ``[R, D]``.
        values: Likewise. Shape ``[R, D]``.
    """
    pairs = []
    for rows, bucket in zip(packing.spread(times), packing.buckets, strict=True):
        relation = (rows[:, :, None] - rows[:, None]).abs().clamp(max=len(keys) - 1)
        pairs.append(RelationPairs(relation, keys, values, bucket))
    return pairs


def _per_head(table: Tensor, n_heads: int) -> Tensor:
    """A table ``[R, D]`` as ``[h, R, d]``."""
    return table.unflatten(-1, (n_heads, -1)).transpose(0, 1)


def scaled_times(times: Tensor, smallest_gap: Tensor) -> Tensor:
    """Times of one user in units of the user's smallest gap, from 1; halves go to the even number.

    Args:
        times: Sorted. Shape ``[n]``, int64.
        smallest_gap: The user's smallest gap above zero, or 1. Scalar, int64.

    Returns:
        Shape ``[n]``, int64.
    """
    return torch.round((times - times[0]).double() / smallest_gap.double()).long() + 1
