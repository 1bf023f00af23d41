"""Pair terms of attention: a relation between two tokens, such as the time between them.

Nothing of shape ``[w, w, D]`` is made: a query's products with all rows of a table are looked up by
the relation, and attention weights are summed by the relation before they meet the table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hm4sr.layers.packing import Bucket
from recbole_hm4sr.layers.padded_rows import Arrangement

_NEVER = torch.iinfo(torch.int64).max


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


class RowScales(NamedTuple):
    """The first moment and the unit of time of each sequence.

    Attributes:
        origins: In seconds. Shape ``[B]``, int64.
        gaps: Seconds a unit, at least 1. Shape ``[B]``, int64.
    """

    origins: Tensor
    gaps: Tensor


def row_scales(times: Tensor, packing: Arrangement) -> RowScales:
    """The first time of each sequence and its smallest gap above zero, 1 if there is none.

    Args:
        times: In seconds, non-decreasing in a sequence. Shape ``[T]``, int64.
        packing: Arrangement of the tokens.
    """
    origins, gaps = [], []
    for rows, bucket in zip(packing.spread(times), packing.buckets, strict=True):
        between = rows[:, 1:] - rows[:, :-1]  # [b, w - 1]
        is_gap = (between > 0) & (bucket.padding_bias[:, 1:] == 0)
        between = torch.cat([between.masked_fill(~is_gap, _NEVER), rows[:, :1] * 0 + _NEVER], 1)
        smallest = between.amin(dim=1)
        origins.append(rows[:, 0])
        gaps.append(smallest.masked_fill(smallest == _NEVER, 1))
    return RowScales(packing.collect_sequences(origins), packing.collect_sequences(gaps))


def scaled_tokens(times: Tensor, packing: Arrangement, scales: RowScales) -> Tensor:
    """Times of all tokens in units of their sequence, from 1; halves go to the even number.

    Args:
        times: In seconds. Shape ``[T]``, int64.
        packing: Arrangement of the tokens.
        scales: Of the sequences.

    Returns:
        Shape ``[T]``, int64.
    """
    origins, gaps = (values.index_select(0, packing.sequence) for values in scales)
    return torch.round((times - origins).double() / gaps.double()).long() + 1


class HiddenKeys:
    """Keys inside rows that no query sees, as masked items.

    The first key of a row must be seen: a query without any has no weights.

    Args:
        bias: Minus infinity where a key is hidden, else 0. Shape ``[b, w]``.
    """

    def __init__(self, bias: Tensor) -> None:
        self._bias = bias

    def scores(self, query: Tensor) -> Tensor:
        """The bias of each key. Shape ``[b, 1, 1, w]``."""
        return self._bias[:, None, None].to(query.dtype)

    def values(self, weights: Tensor) -> None:
        """Nothing is added to values."""

    def at_last(self) -> "HiddenKeys":
        """The same: a key is hidden from every query."""
        return self


def hidden_keys(is_hidden: Tensor, packing: Arrangement) -> Sequence[HiddenKeys]:
    """The pairs of all buckets that hide some tokens as keys.

    Args:
        is_hidden: Shape ``[T]``, bool.
        packing: Arrangement of the tokens.
    """
    bias = torch.zeros(is_hidden.shape, device=is_hidden.device).masked_fill(is_hidden, -torch.inf)
    return [HiddenKeys(rows) for rows in packing.spread(bias)]
