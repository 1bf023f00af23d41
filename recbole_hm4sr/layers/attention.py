"""Multi-head attention over packed tokens, with terms between two tokens where a model has some."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.padded_rows import Arrangement


class PairRows(Protocol):
    """What stands between each query and each key of one bucket, as the time between them.

    The queries are all positions of the bucket's rows, or the newest alone (:meth:`at_last`).
    """

    def scores(self, query: Tensor) -> Tensor:
        """Added to the scores before scale and mask: ``[b, h, q, d]`` to ``[b, h, q, w]``."""

    def values(self, weights: Tensor) -> Tensor | None:
        """Added to the mixed values: ``[b, h, q, w]`` to ``[b, h, q, d]``; None for nothing."""

    def at_last(self) -> "PairRows":
        """The same for the newest query of each row."""


class StepContext(NamedTuple):
    """What all blocks of an encoder read besides the tokens.

    Attributes:
        packing: Arrangement of the tokens.
        pairs: Terms between two tokens, one a bucket; None for none.
        keys: Added to the keys of every block, as positions. Shape ``[T, D]``.
        values: Added to the values of every block. Shape ``[T, D]``.
    """

    packing: Arrangement
    pairs: Sequence[PairRows] | None = None
    keys: Tensor | None = None
    values: Tensor | None = None


class SelfAttention(nn.Module):
    """Multi-head attention of the tokens of a sequence to each other.

    Args:
        hidden_size: D; a multiple of ``n_heads``.
        n_heads: Attention heads.
        attn_dropout_prob: Dropout of the attention weights.
        causal: Whether a token sees itself and those before it only.
        output_map: Whether the heads' outputs pass through one more linear map.
        sink_length: If given, each sequence has as many keys of zero vectors as it is shorter than
            this: the padding that the original SASRec does not mask.

    Raises:
        ValueError: If ``hidden_size`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        n_heads: int,
        attn_dropout_prob: float,
        causal: bool = True,
        output_map: bool = True,
        sink_length: int | None = None,
    ) -> None:
        super().__init__()
        if hidden_size % n_heads:
            raise ValueError(
                f"hidden_size must be a multiple of n_heads, got {hidden_size} and {n_heads}"
            )
        self.n_heads = n_heads
        self.causal = causal
        self.sink_length = sink_length
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size) if output_map else nn.Identity()
        self.attn_dropout = Dropout(attn_dropout_prob)

    def forward(self, queries: Tensor, sources: Tensor, context: StepContext) -> Tensor:
        """Attend at every token.

        Args:
            queries: What the queries are made of. Shape ``[T, D]``.
            sources: What keys and values are made of; may be the same tensor. Shape ``[T, D]``.
            context: What all blocks read.

        Returns:
            The mixed values after the output map. Shape ``[T, D]``.
        """
        packing = context.packing
        if queries is sources:
            projected = _project(sources, self.query, self.key, self.value)
            if context.keys is not None or context.values is not None:
                query, key, value = projected.chunk(3, dim=-1)
                projected = torch.cat([query, *_shifted(key, value, context)], dim=-1)
        else:
            key, value = _project(sources, self.key, self.value).chunk(2, dim=-1)
            projected = torch.cat([self.query(queries), *_shifted(key, value, context)], dim=-1)
        blocks = packing.spread(projected)
        mixed = []
        for number, (block, rows) in enumerate(zip(blocks, packing.buckets, strict=True)):
            # Padding stands on the right: what hides later tokens hides it from every token.
            mask = rows.causal_bias if self.causal else rows.padding_bias[:, None]
            pairs = context.pairs[number] if context.pairs is not None else None
            sink = self._sink(rows.sequences, packing)
            mixed.append(self._attend(*block.chunk(3, dim=-1), mask=mask, pairs=pairs, sink=sink))
        return self.output(packing.collect(mixed))

    def at_last(self, newest: Tensor, sources: Tensor, context: StepContext) -> Tensor:
        """Attend at the last token of each sequence.

        Args:
            newest: What the queries are made of. Shape ``[B, D]``.
            sources: What keys and values are made of. Shape ``[T, D]``.
            context: What all blocks read.

        Returns:
            The mixed values after the output map. Shape ``[B, D]``.
        """
        packing = context.packing
        queries = packing.spread_sequences(self.query(newest))
        projected = _project(sources, self.key, self.value)
        if context.keys is not None or context.values is not None:
            key, value = projected.chunk(2, dim=-1)
            projected = torch.cat(_shifted(key, value, context), dim=-1)
        blocks = packing.spread(projected)
        mixed = []
        for number, (query, block, rows) in enumerate(
            zip(queries, blocks, packing.buckets, strict=True)
        ):
            pairs = context.pairs[number].at_last() if context.pairs is not None else None
            row = self._attend(
                query[:, None],
                *block.chunk(2, dim=-1),
                mask=rows.padding_bias[:, None],
                pairs=pairs,
                sink=self._sink(rows.sequences, packing),
            )
            mixed.append(row.squeeze(1))
        return self.output(packing.collect_sequences(mixed))

    def _sink(self, sequences: Tensor, packing: Arrangement) -> Tensor | None:
        """Logarithm of the number of zero vectors before each sequence. Shape ``[b]``."""
        if self.sink_length is None:
            return None
        lengths = packing.lengths.index_select(0, sequences)
        return (self.sink_length - lengths).to(self.key.weight.dtype).log()

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor,
        pairs: PairRows | None,
        sink: Tensor | None,
    ) -> Tensor:
        """Mix the values that each query may see.

        Args:
            query: Shape ``[b, q, D]``.
            key: Shape ``[b, w, D]``.
            value: Shape ``[b, w, D]``.
            mask: Minus infinity where a key is hidden from a query, else 0. Shape ``[q, w]`` or
                ``[b, q, w]``.
            pairs: Terms between queries and keys.
            sink: Logarithm of the number of keys of zero vectors. Shape ``[b]``.

        Returns:
            Shape ``[b, q, D]``.
        """
        query, key, value = (
            x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in (query, key, value)
        )  # [b, h, q or w, d]
        scores = query @ key.mT  # [b, h, q, w]
        if pairs is not None:
            scores = scores + pairs.scores(query)
        mask = mask if mask.ndim == 2 else mask[:, None]
        scores = scores / math.sqrt(key.shape[-1]) + mask
        if sink is not None:
            scores = torch.cat([scores, self._sink_scores(query, sink)], dim=-1)
        weights = self.attn_dropout(scores.softmax(dim=-1))
        if sink is not None:
            weights, of_sink = weights[..., :-1], weights[..., -1:]
        mixed = weights @ value
        if sink is not None:
            mixed = mixed + of_sink * self._per_head(self.value.bias)
        between = None if pairs is None else pairs.values(weights)
        mixed = mixed if between is None else mixed + between
        return mixed.transpose(1, 2).flatten(-2)

    def _sink_scores(self, query: Tensor, sink: Tensor) -> Tensor:
        """Scores of the zero vectors together, whose key is the bias. ``[b, h, q, 1]``."""
        own = (query * self._per_head(self.key.bias)).sum(dim=-1, keepdim=True)
        return own / math.sqrt(query.shape[-1]) + sink[:, None, None, None]

    def _per_head(self, vector: Tensor) -> Tensor:
        """A vector ``[D]`` as ``[h, 1, d]``."""
        return vector.view(self.n_heads, 1, -1)


def _shifted(key: Tensor, value: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
    """Keys and values with what the context adds to them. Each of shape ``[T, D]``."""
    key = key if context.keys is None else key + context.keys
    return key, value if context.values is None else value + context.values


def _project(x: Tensor, *maps: nn.Linear) -> Tensor:
    """What several linear maps make of the same input, side by side, as one product."""
    weight = torch.cat([linear.weight for linear in maps])
    return F.linear(x, weight, torch.cat([linear.bias for linear in maps]))
