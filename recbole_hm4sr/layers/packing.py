"""Valid tokens side by side: the work on padding is not done.

Histories are short and padded to L: with L 50 and a mean length near 10, four of five positions
are padding. A :class:`Packing` says where the tokens of a batch stand once padding is gone. Only
attention needs rows again; it gets them in a few buckets of sequences of similar length.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Widths between which sequences share a bucket: narrow enough that less than a third is padding,
# few enough that starting an operation for each costs little.
_BUCKET_LIMITS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Padding that costs less than a bucket of its own: so many places join the next wider bucket.
_PADDING_BELOW_A_BUCKET = 512


@dataclass(frozen=True)
class Bucket:
    """Sequences of similar length as padded rows.

    Attributes:
        sequences: Their numbers in the batch. Shape ``[b]``, int64.
        tokens: Packed number of the token at each place; any token where the place is padding.
            Shape ``[b, w]``, int64.
        is_token: True where the place holds a token. Shape ``[b, w]``, bool.
        hide_padding: Minus infinity where it does not, else 0: added to scores, since filling by a
            mask takes several times as long as adding. Shape ``[b, w]``, float32.
        hide_later: Minus infinity where the second place stands after the first, else 0. Shape
            ``[w, w]``, float32.
    """

    sequences: Tensor
    tokens: Tensor
    is_token: Tensor
    hide_padding: Tensor
    hide_later: Tensor


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch stand, sequence after sequence, oldest first.

    Attributes:
        lengths: Tokens of each sequence. Shape ``[B]``, int64.
        place: Number of each token among the places of a padded batch. Shape ``[T]``, int64.
        sequence: Sequence of each token. Shape ``[T]``, int64.
        position: Its position in the sequence, from 0. Shape ``[T]``, int64.
        last: Number of the last token of each sequence. Shape ``[B]``, int64.
        buckets: All sequences, each in one bucket.
        to_buckets: Token at each place of all buckets. Shape ``[P]``, int64.
        from_buckets: Place of each token among the places of all buckets. Shape ``[T]``, int64.
        sequence_to_buckets: Sequence of each row of all buckets. Shape ``[B]``, int64.
        sequence_from_buckets: Place of each sequence among the rows of all buckets. Shape
            ``[B]``, int64.
    """

    lengths: Tensor
    place: Tensor
    sequence: Tensor
    position: Tensor
    last: Tensor
    buckets: tuple[Bucket, ...]
    to_buckets: Tensor
    from_buckets: Tensor
    sequence_to_buckets: Tensor
    sequence_from_buckets: Tensor

    def pack(self, padded: Tensor) -> Tensor:
        """The tokens of a padded ``[B, L, ...]`` batch. Shape ``[T, ...]``."""
        return padded.flatten(0, 1).index_select(0, self.place)

    def spread(self, tokens: Tensor) -> list[Tensor]:
        """Packed ``[T, ...]`` as padded rows, ``[b, w, ...]`` of each bucket."""
        places = tokens.index_select(0, self.to_buckets)
        parts = places.split([rows.tokens.numel() for rows in self.buckets])
        return [
            part.view(*rows.tokens.shape, *part.shape[1:])
            for part, rows in zip(parts, self.buckets, strict=True)
        ]

    def collect(self, blocks: list[Tensor]) -> Tensor:
        """Padded rows of each bucket, ``[b, w, ...]``, as packed ``[T, ...]``."""
        places = torch.cat([block.flatten(0, 1) for block in blocks])
        return places.index_select(0, self.from_buckets)

    def spread_sequences(self, vectors: Tensor) -> list[Tensor]:
        """One vector a sequence, ``[B, ...]``, as ``[b, ...]`` of each bucket."""
        rows = vectors.index_select(0, self.sequence_to_buckets)
        return list(rows.split([len(bucket.sequences) for bucket in self.buckets]))

    def collect_sequences(self, blocks: list[Tensor]) -> Tensor:
        """Vectors of the sequences of each bucket, ``[b, ...]``, as ``[B, ...]``."""
        return torch.cat(blocks).index_select(0, self.sequence_from_buckets)


def build_packing(lengths: Tensor, max_length: int) -> Packing:
    """Arrange a batch of sequences.

    Args:
        lengths: Valid positions of each sequence, at least 1. Shape ``[B]``, int64.
        max_length: L.

    Returns:
        The arrangement, on the device of ``lengths``.
    """
    steps = torch.arange(max_length, device=lengths.device)
    is_token = steps < lengths[:, None]  # [B, L]
    sequence, position = is_token.nonzero(as_tuple=True)
    last = lengths.cumsum(0) - 1
    first = last - lengths + 1
    buckets, row_starts, rows = [], torch.empty_like(lengths), torch.empty_like(lengths)
    n_places = n_rows = 0
    for members in _split_by_length(lengths):
        width = int(lengths[members].max())
        tokens = (first[members, None] + steps[:width]).clamp(max=len(sequence) - 1)
        inside = is_token[members, :width]
        hidden = torch.zeros(inside.shape, device=lengths.device).masked_fill_(~inside, -torch.inf)
        later = torch.full((width, width), -torch.inf, device=lengths.device).triu(1)
        buckets.append(Bucket(members, tokens, inside, hidden, later))
        numbers = torch.arange(len(members), device=lengths.device)
        row_starts[members] = n_places + numbers * width
        rows[members] = n_rows + numbers
        n_places += tokens.numel()
        n_rows += len(members)
    return Packing(
        lengths=lengths,
        place=sequence * max_length + position,
        sequence=sequence,
        position=position,
        last=last,
        buckets=tuple(buckets),
        to_buckets=torch.cat([rows.tokens.flatten() for rows in buckets]),
        from_buckets=row_starts[sequence] + position,
        sequence_to_buckets=torch.cat([bucket.sequences for bucket in buckets]),
        sequence_from_buckets=rows,
    )


def _split_by_length(lengths: Tensor) -> list[Tensor]:
    """Numbers of the sequences of each bucket, widest bucket first."""
    limits = torch.tensor(_BUCKET_LIMITS, device=lengths.device)
    number = torch.bucketize(lengths, limits)
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
