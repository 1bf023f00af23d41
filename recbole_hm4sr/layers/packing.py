"""Packing: valid tokens side by side, without work on padding.

Histories are short and padded to L: with L 50 and a mean length near 10, four of five positions
are padding. A :class:`Packing` says where the tokens of a batch are once padding is gone. Only
attention needs rows again; it gets them in a few buckets of sequences of similar length.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.transfer import send

# Widths between which sequences share a bucket: narrow enough that less than a third is padding,
# few enough that starting an operation for each costs little.
_BUCKET_LIMITS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Padding that costs less than a bucket of its own: so many cells join the next wider bucket.
_PADDING_BELOW_A_BUCKET = 512
# Rows of a rounded bucket are a multiple of this.
_ROWS = 32


@dataclass(frozen=True)
class Bucket:
    """Sequences of similar length as padded rows.

    Attributes:
        sequences: Their numbers in the batch. Shape ``[b]``, int64.
        tokens: Packed number of the token in each cell; any token where the cell is padding.
            Shape ``[b, w]``, int64.
        padding_bias: Minus infinity where the cell is padding, else 0: added to scores, since
            filling by a mask takes several times as long as adding. Shape ``[b, w]``, float32.
        causal_bias: Minus infinity where the second position comes after the first, else 0. Shape
            ``[w, w]``, float32.
    """

    sequences: Tensor
    tokens: Tensor
    padding_bias: Tensor
    causal_bias: Tensor

    def last_position(self) -> Tensor:
        """Position of the last token of each row. Shape ``[b]``, int64."""
        return (self.padding_bias == 0).sum(dim=1) - 1


@dataclass(frozen=True)
class Packing:
    """The arrangement of a batch's tokens: sequence after sequence, oldest first.

    Attributes:
        lengths: Tokens of each sequence. Shape ``[B]``, int64.
        padded_index: Index of each token among the cells of a padded batch. Shape ``[T]``, int64.
        sequence: Sequence of each token. Shape ``[T]``, int64.
        position: Its position in the sequence, from 0. Shape ``[T]``, int64.
        last: Number of the last token of each sequence. Shape ``[B]``, int64.
        to_buckets: Token in each cell of all buckets. Shape ``[P]``, int64.
        from_buckets: Index of each token among the cells of all buckets. Shape ``[T]``, int64.
        sequence_to_buckets: Sequence of each row of all buckets. Shape ``[B]``, int64.
        sequence_from_buckets: Index of each sequence among the rows of all buckets. Shape
            ``[B]``, int64.
        padding_bias: ``padding_bias`` of all buckets. Shape ``[P]``, float32.
        causal_bias: ``causal_bias`` of all buckets, flat. Float32.
        shapes: Rows and width of each bucket.
        rounded: The same sequences in shapes that recur; None where none are asked for.
    """

    lengths: Tensor
    padded_index: Tensor
    sequence: Tensor
    position: Tensor
    last: Tensor
    to_buckets: Tensor
    from_buckets: Tensor
    sequence_to_buckets: Tensor
    sequence_from_buckets: Tensor
    padding_bias: Tensor
    causal_bias: Tensor
    shapes: tuple[tuple[int, int], ...]
    rounded: "Packing | None" = None

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """All sequences, each in one bucket: views of the flat tensors."""
        parts = zip(
            self.sequence_to_buckets.split([rows for rows, _ in self.shapes]),
            self.to_buckets.split(self._n_cells),
            self.padding_bias.split(self._n_cells),
            self.causal_bias.split([width * width for _, width in self.shapes]),
            self.shapes,
            strict=True,
        )
        return tuple(
            Bucket(rows, tokens.view(shape), hidden.view(shape), later.view(shape[1], shape[1]))
            for rows, tokens, hidden, later, shape in parts
        )

    @cached_property
    def _n_cells(self) -> list[int]:
        return [rows * width for rows, width in self.shapes]

    def pack(self, padded: Tensor) -> Tensor:
        """The tokens of a padded ``[B, L, ...]`` batch. Shape ``[T, ...]``."""
        return padded.flatten(0, 1).index_select(0, self.padded_index)

    def spread(self, tokens: Tensor) -> list[Tensor]:
        """Packed ``[T, ...]`` as padded rows, ``[b, w, ...]`` of each bucket."""
        cells = tokens.index_select(0, self.to_buckets)
        parts = zip(cells.split(self._n_cells), self.shapes, strict=True)
        return [part.view(*shape, *part.shape[1:]) for part, shape in parts]

    def collect(self, blocks: list[Tensor]) -> Tensor:
        """Padded rows of each bucket, ``[b, w, ...]``, as packed ``[T, ...]``."""
        cells = torch.cat([block.flatten(0, 1) for block in blocks])
        return cells.index_select(0, self.from_buckets)

    def spread_sequences(self, vectors: Tensor) -> list[Tensor]:
        """One vector a sequence, ``[B, ...]``, as ``[b, ...]`` of each bucket."""
        rows = vectors.index_select(0, self.sequence_to_buckets)
        return list(rows.split([count for count, _ in self.shapes]))

    def collect_sequences(self, blocks: list[Tensor]) -> Tensor:
        """Vectors of the sequences of each bucket, ``[b, ...]``, as ``[B, ...]``."""
        return torch.cat(blocks).index_select(0, self.sequence_from_buckets)


def build_packing(lengths: Tensor, max_length: int) -> Packing:
    """Arrange a batch of sequences.

    The shapes of an arrangement depend on its values, so a GPU would have to be waited for at every
    step: it is made on the CPU, wherever the lengths are, and sent once.

    Args:
        lengths: Valid positions of each sequence, at least 1. Shape ``[B]``, int64.
        max_length: L.

    Returns:
        The arrangement, on the device of ``lengths``.
    """
    device, lengths = lengths.device, lengths.cpu()
    steps = torch.arange(max_length)
    is_token = steps < lengths[:, None]  # [B, L]
    sequence, position = is_token.nonzero(as_tuple=True)
    last = lengths.cumsum(0) - 1
    first = last - lengths + 1
    row_starts, rows = torch.empty_like(lengths), torch.empty_like(lengths)
    cells, hidden, later, shapes = [], [], [], []
    n_cells = n_rows = 0
    groups = _split_by_length(lengths)
    for members in groups:
        width = int(lengths[members].max())
        numbers = torch.arange(len(members))
        row_starts[members] = n_cells + numbers * width
        rows[members] = n_rows + numbers
        tokens = (first[members, None] + steps[:width]).clamp(max=len(sequence) - 1)
        padding = ~is_token[members, :width]
        cells.append(tokens.flatten())
        hidden.append(torch.zeros(padding.shape).masked_fill_(padding, -torch.inf).flatten())
        later.append(torch.full((width, width), -torch.inf).triu(1).flatten())
        shapes.append((len(members), width))
        n_cells += tokens.numel()
        n_rows += len(members)
    packing = Packing(
        lengths=lengths,
        padded_index=sequence * max_length + position,
        sequence=sequence,
        position=position,
        last=last,
        to_buckets=torch.cat(cells),
        from_buckets=row_starts[sequence] + position,
        sequence_to_buckets=torch.cat(groups),
        sequence_from_buckets=rows,
        padding_bias=torch.cat(hidden),
        causal_bias=torch.cat(later),
        shapes=tuple(shapes),
    )
    return send(packing, device)


def with_rounded(packing: Packing, multiple: int) -> Packing:
    """The packing with a second one, :attr:`Packing.rounded`, whose shapes recur from step to step.

    Tokens come to a multiple, rows of a bucket to another, and widths are those of a short list.
    The tokens beyond the real ones stand behind them and are in no sequence's row: nobody reads
    them. The rows beyond the real ones hold the first token in every cell.

    Args:
        packing: On the CPU.
        multiple: Of the tokens; at least 1.
    """
    n_tokens, n_sequences = len(packing.position), len(packing.lengths)
    n_more = -n_tokens % multiple
    from_buckets = torch.zeros(n_tokens + n_more, dtype=torch.int64)
    sequence_from_buckets = torch.empty(n_sequences, dtype=torch.int64)
    rows, cells, hidden, later, shapes = [], [], [], [], []
    n_cells = n_rows = 0
    for bucket in packing.buckets:
        own, width = bucket.tokens.shape
        wide = next((limit for limit in _BUCKET_LIMITS if limit >= width), width)
        more, wider = -own % _ROWS, wide - width
        bias = F.pad(bucket.padding_bias, (0, wider), value=-torch.inf)
        row, column = (bucket.padding_bias == 0).nonzero(as_tuple=True)
        from_buckets[bucket.tokens[row, column]] = n_cells + row * wide + column
        sequence_from_buckets[bucket.sequences] = n_rows + torch.arange(own)
        rows.append(F.pad(bucket.sequences, (0, more)))
        cells.append(F.pad(bucket.tokens, (0, wider, 0, more)).flatten())
        hidden.append(F.pad(bias, (0, 0, 0, more)).flatten())
        later.append(torch.full((wide, wide), -torch.inf).triu(1).flatten())
        shapes.append((own + more, wide))
        n_cells += (own + more) * wide
        n_rows += own + more
    longest = int(packing.lengths.max())  # no position of a sequence
    rounded = dataclasses.replace(
        packing,
        padded_index=F.pad(packing.padded_index, (0, n_more)),
        sequence=F.pad(packing.sequence, (0, n_more)),
        position=F.pad(packing.position, (0, n_more), value=longest),
        to_buckets=torch.cat(cells),
        from_buckets=from_buckets,
        sequence_to_buckets=torch.cat(rows),
        sequence_from_buckets=sequence_from_buckets,
        padding_bias=torch.cat(hidden),
        causal_bias=torch.cat(later),
        shapes=tuple(shapes),
    )
    return dataclasses.replace(packing, rounded=rounded)


def _split_by_length(lengths: Tensor) -> list[Tensor]:
    """Numbers of the sequences of each bucket, widest bucket first."""
    number = torch.bucketize(lengths, torch.tensor(_BUCKET_LIMITS))
    groups: list[Tensor] = []
    width = 0
    for which in torch.unique(number).flip(0).tolist():
        members = torch.nonzero(number == which).squeeze(1)
        padding = width * len(members) - int(lengths[members].sum())
        if groups and padding <= _PADDING_BELOW_A_BUCKET:
            groups[-1] = torch.cat([groups[-1], members])
        else:
            groups.append(members)
            width = int(lengths[members].max())
    return groups
