"""Multi-head attention over packed tokens, with what else a model lets the scores read.

Terms between two tokens, further queries and keys, and keys and values of another sequence.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.cross_rows import CrossRows
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.padded_rows import Arrangement


class PairRows(Protocol):
    """Terms of each query and each key of one bucket, as for the time between them."""

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
        side: Further streams of queries and keys, whose scores are added to the tokens' own. Each
            of shape ``[T, D_f]``.
        cross_rows: Rows of cross-attention; None for none.
    """

    packing: Arrangement
    pairs: Sequence[PairRows] | None = None
    keys: Tensor | None = None
    values: Tensor | None = None
    side: Sequence[Tensor] = ()
    cross_rows: CrossRows | None = None


class MultiHeadAttention(nn.Module):
    """The maps and the mixing that self- and cross-attention share.

    Args:
        hidden_size: D; a multiple of ``n_heads``.
        n_heads: Attention heads.
        attn_dropout_prob: Dropout of the attention weights.
        output_map: Whether the heads' outputs pass through one more linear map.
        bias: Whether the maps have one.

    Raises:
        ValueError: If ``hidden_size`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        n_heads: int,
        attn_dropout_prob: float,
        output_map: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if hidden_size % n_heads:
            raise ValueError(
                f"hidden_size must be a multiple of n_heads, got {hidden_size} and {n_heads}"
            )
        self.n_heads = n_heads
        self.query = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.key = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.value = nn.Linear(hidden_size, hidden_size, bias=bias)
        output = nn.Linear(hidden_size, hidden_size, bias=bias) if output_map else nn.Identity()
        self.output = output
        self.attn_dropout = Dropout(attn_dropout_prob)

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
            query: Shape ``[b, q, D]``; wider with further streams, the tokens' own first in a head.
            key: Shape ``[b, w, D]``, or as wide as the queries.
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
        width = value.shape[-1]
        mask = mask if mask.ndim == 2 else mask[:, None]
        scores = self._scores(query, key, mask)  # [b, h, q, w]
        if pairs is not None:
            scores = scores + pairs.scores(query[..., :width])
        scores = scores / math.sqrt(width) + mask
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
        return mixed.transpose(1, 2).flatten(-2)  # [b, h, q, d] to [b, q, D]

    def _scores(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002
        """Scores before scale and mask: the products, with further streams the sum of theirs.

        Args:
            query: Shape ``[b, h, q, d]``, wider with further streams.
            key: Shape ``[b, h, w, d]``, as wide as the queries.
            mask: Minus infinity where a key is hidden. Broadcasts to ``[b, h, q, w]``.
        """
        return query @ key.mT

    def _sink_scores(self, query: Tensor, sink: Tensor) -> Tensor:
        """Scores of the zero vectors together, whose key is the bias. ``[b, h, q, 1]``."""
        own = (query * self._per_head(self.key.bias)).sum(dim=-1, keepdim=True)
        return own / math.sqrt(query.shape[-1]) + sink[:, None, None, None]

    def _per_head(self, vector: Tensor) -> Tensor:
        """A vector ``[D]`` as ``[h, 1, d]``."""
        return vector.view(self.n_heads, 1, -1)


class SelfAttention(MultiHeadAttention):
    """Multi-head attention of the tokens of a sequence to each other.

    Args:
        hidden_size: D; a multiple of ``n_heads``.
        n_heads: Attention heads.
        attn_dropout_prob: Dropout of the attention weights.
        causal: Whether a token sees itself and those before it only.
        output_map: Whether the heads' outputs pass through one more linear map.
        sink_length: If given, each sequence has as many keys of zero vectors as it is shorter than
            this: the padding that the original SASRec does not mask.
        side_sizes: Widths D_f of the context's further streams, multiples of ``n_heads``. Each has
            a query map and a key map of its width; the scores of all streams are summed, and
            scaled as the tokens' own.
        bias: Whether the maps have one; a sink's keys are made of it.

    Raises:
        ValueError: If a width is not a multiple of ``n_heads``, or a sink meets further streams,
            whose keys it does not have, or maps without bias.
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
        side_sizes: Sequence[int] = (),
        bias: bool = True,
    ) -> None:
        super().__init__(
            hidden_size=hidden_size,
            n_heads=n_heads,
            attn_dropout_prob=attn_dropout_prob,
            output_map=output_map,
            bias=bias,
        )
        if not bias and sink_length is not None:
            raise ValueError("bias must be true where there is a sink_length")
        if side_sizes and sink_length is not None:
            raise ValueError("side_sizes must be empty where there is a sink_length")
        if any(size % n_heads for size in side_sizes):
            raise ValueError(
                f"side_sizes must be multiples of n_heads ({n_heads}), got {list(side_sizes)}"
            )
        self.causal = causal
        self.sink_length = sink_length
        self.side_queries = nn.ModuleList(nn.Linear(size, size) for size in side_sizes)
        self.side_keys = nn.ModuleList(nn.Linear(size, size) for size in side_sizes)

    def forward(
        self,
        queries: Tensor,
        sources: Tensor,
        context: StepContext,
        values: Tensor | None = None,
    ) -> Tensor:
        """Attend at every token.

        Args:
            queries: What the queries are made of. Shape ``[T, D]``.
            sources: What keys and values are made of; may be the same tensor. Shape ``[T, D]``.
            context: What all blocks read.
            values: What the values are made of, if not of ``sources``. Shape ``[T, D]``.

        Returns:
            The mixed values after the output map. Shape ``[T, D]``.
        """
        packing = context.packing
        if queries is sources and values is None:
            projected = _project(sources, self.query, self.key, self.value)
            if not _is_plain(context):
                query, key, value = projected.chunk(3, dim=-1)
                key, value = _shifted(key, value, context)
                query = self._beside(query, self.side_queries, context.side)
                key = self._beside(key, self.side_keys, context.side)
                projected = torch.cat([query, key, value], dim=-1)
        else:
            key, value = self._keys_and_values(sources, values).chunk(2, dim=-1)
            key, value = _shifted(key, value, context)
            query = self._beside(self.query(queries), self.side_queries, context.side)
            key = self._beside(key, self.side_keys, context.side)
            projected = torch.cat([query, key, value], dim=-1)
        wide = self._wide
        blocks = packing.spread(projected)
        mixed = []
        for number, (block, rows) in enumerate(zip(blocks, packing.buckets, strict=True)):
            # Padding is on the right: what hides later tokens hides it from every token.
            mask = rows.causal_bias if self.causal else rows.padding_bias[:, None]
            pairs = context.pairs[number] if context.pairs is not None else None
            sink = self._sink(rows.sequences, packing)
            mixed.append(
                self._attend(*block.split(wide, dim=-1), mask=mask, pairs=pairs, sink=sink)
            )
        return self.output(packing.collect(mixed))

    def at_last(
        self,
        newest: Tensor,
        sources: Tensor,
        context: StepContext,
        values: Tensor | None = None,
    ) -> Tensor:
        """Attend at the last token of each sequence.

        Args:
            newest: What the queries are made of. Shape ``[B, D]``.
            sources: What keys and values are made of. Shape ``[T, D]``.
            context: What all blocks read.
            values: What the values are made of, if not of ``sources``. Shape ``[T, D]``.

        Returns:
            The mixed values after the output map. Shape ``[B, D]``.
        """
        packing = context.packing
        last_side = [stream.index_select(0, packing.last) for stream in context.side]
        query = self._beside(self.query(newest), self.side_queries, last_side)
        queries = packing.spread_sequences(query)
        projected = self._keys_and_values(sources, values)
        if not _is_plain(context):
            key, value = projected.chunk(2, dim=-1)
            key, value = _shifted(key, value, context)
            key = self._beside(key, self.side_keys, context.side)
            projected = torch.cat([key, value], dim=-1)
        wide = self._wide[1:]
        blocks = packing.spread(projected)
        mixed = []
        for number, (query, block, rows) in enumerate(
            zip(queries, blocks, packing.buckets, strict=True)
        ):
            pairs = context.pairs[number].at_last() if context.pairs is not None else None
            row = self._attend(
                query[:, None],
                *block.split(wide, dim=-1),
                mask=rows.padding_bias[:, None],
                pairs=pairs,
                sink=self._sink(rows.sequences, packing),
            )
            mixed.append(row.squeeze(1))
        return self.output(packing.collect_sequences(mixed))

    def _keys_and_values(self, sources: Tensor, values: Tensor | None) -> Tensor:
        """Maps of the keys and of the values side by side. Shape ``[T, 2D]``."""
        if values is None:
            return _project(sources, self.key, self.value)
        return torch.cat([self.key(sources), self.value(values)], dim=-1)

    @property
    def _wide(self) -> list[int]:
        """Widths of queries, keys and values: those of all streams, the same, and D."""
        size = self.value.out_features
        wide = size + sum(cast(nn.Linear, linear).out_features for linear in self.side_keys)
        return [wide, wide, size]

    def _beside(self, own: Tensor, maps: nn.ModuleList, side: Sequence[Tensor]) -> Tensor:
        """Maps of the further streams beside the tokens' own, head by head.

        Args:
            own: Shape ``[T, D]``.
            maps: One a stream.
            side: The streams.

        Returns:
            Shape ``[T, D + D_1 + ...]``; a head's product of two is the sum of its streams' scores.
        """
        if not maps and not side:
            return own
        parts = [own, *(linear(stream) for linear, stream in zip(maps, side, strict=True))]
        heads = [part.unflatten(-1, (self.n_heads, -1)) for part in parts]  # [T, h, width / h]
        return torch.cat(heads, dim=-1).flatten(-2)

    def _sink(self, sequences: Tensor, packing: Arrangement) -> Tensor | None:
        """Logarithm of the number of zero vectors before each sequence. Shape ``[b]``."""
        if self.sink_length is None:
            return None
        lengths = packing.lengths.index_select(0, sequences)
        return (self.sink_length - lengths).to(self.key.weight.dtype).log()


class CrossAttention(MultiHeadAttention):
    """Multi-head attention of the tokens of a sequence to the tokens of another.

    Keys and values are made of the context's ``cross_rows``; every token sees all of them.
    """

    def forward(self, queries: Tensor, context: StepContext) -> Tensor:
        """Attend at every token.

        Args:
            queries: What the queries are made of. Shape ``[T, D]``.
            context: What all blocks read.

        Returns:
            The mixed values after the output map. Shape ``[T, D]``.

        Raises:
            ValueError: If the context has no rows of cross-attention.
        """
        blocks = context.packing.spread(self.query(queries))
        return self.output(context.packing.collect(self._mix(blocks, context)))

    def at_last(self, newest: Tensor, context: StepContext) -> Tensor:
        """Attend at the last token of each sequence. Shapes ``[B, D]`` to ``[B, D]``.

        Raises:
            ValueError: If the context has no rows of cross-attention.
        """
        rows = context.packing.spread_sequences(self.query(newest))
        mixed = self._mix([row[:, None] for row in rows], context)
        return self.output(context.packing.collect_sequences([row[:, 0] for row in mixed]))

    def _mix(self, blocks: Sequence[Tensor], context: StepContext) -> list[Tensor]:
        """The mixed values of each bucket's queries. Each ``[b, q, D]`` to ``[b, q, D]``."""
        if context.cross_rows is None:
            raise ValueError("cross_rows must be in the context where a layer attends to them")
        projected = _project(context.cross_rows.tokens, self.key, self.value)  # [S, 2D]
        mixed = []
        for block, bucket in zip(blocks, context.cross_rows.buckets, strict=True):
            rows = projected.index_select(0, bucket.tokens.flatten())
            rows = rows.unflatten(0, bucket.tokens.shape)  # [b, s, 2D]
            mask = bucket.padding_bias[:, None]
            key, value = rows.chunk(2, dim=-1)
            mixed.append(self._attend(block, key, value, mask=mask, pairs=None, sink=None))
        return mixed


def _is_plain(context: StepContext) -> bool:
    """Whether the context adds nothing to the maps of the tokens."""
    return context.keys is None and context.values is None and not context.side


def _shifted(key: Tensor, value: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
    """Keys and values with what the context adds to them. Each of shape ``[T, D]``."""
    keys, values = context.keys, context.values
    return key if keys is None else key + keys, value if values is None else value + values


def _project(x: Tensor, *maps: nn.Linear) -> Tensor:
    """What several linear maps make of the same input, side by side, as one product."""
    weight = torch.cat([linear.weight for linear in maps])
    biases: list[Tensor] = [linear.bias for linear in maps if linear.bias is not None]
    return F.linear(x, weight, torch.cat(biases) if biases else None)
