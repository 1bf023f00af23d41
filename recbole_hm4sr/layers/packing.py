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


@dataclass(frozen=True)
class Bucket:
    """Sequences of similar length as padded rows.

    Attributes:
        sequences: Their numbers in the batch. Shape ``[b]``, int64.
        tokens: Packed number of the token at each place; any token where the place is padding.
            Shape ``[b, w]``, int64.
        is_token: True where the place holds a token. Shape ``[b, w]``, bool.
    """

    sequences: Tensor
    tokens: Tensor
    is_token: Tensor


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch stand, sequence after sequence, oldest first.

    Attributes:
        is_token: True where a padded batch holds a token. Shape ``[B, L]``, bool.
        sequence: Sequence of each token. Shape ``[T]``, int64.
        position: Its position in the sequence, from 0. Shape ``[T]``, int64.
        last: Number of the last token of each sequence. Shape ``[B]``, int64.
        buckets: All sequences, each in one bucket.
        from_buckets: Place of each token among the places of all buckets. Shape ``[T]``, int64.
        sequence_from_buckets: Place of each sequence among the rows of all buckets. Shape
            ``[B]``, int64.
    """

    is_token: Tensor
    sequence: Tensor
    position: Tensor
    last: Tensor
    buckets: tuple[Bucket, ...]
    from_buckets: Tensor
    sequence_from_buckets: Tensor

    def pack(self, padded: Tensor) -> Tensor:
        """The tokens of a padded ``[B, L, ...]`` batch. Shape ``[T, ...]``."""
        return padded[self.is_token]


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
        buckets.append(Bucket(members, tokens, is_token[members, :width]))
        numbers = torch.arange(len(members), device=lengths.device)
        row_starts[members] = n_places + numbers * width
        rows[members] = n_rows + numbers
        n_places += tokens.numel()
        n_rows += len(members)
    return Packing(
        is_token=is_token,
        sequence=sequence,
        position=position,
        last=last,
        buckets=tuple(buckets),
        from_buckets=row_starts[sequence] + position,
        sequence_from_buckets=rows,
    )


def _split_by_length(lengths: Tensor) -> list[Tensor]:
    limits = torch.tensor(_BUCKET_LIMITS, device=lengths.device)
    number = torch.bucketize(lengths, limits)
    return [torch.nonzero(number == which).squeeze(1) for which in torch.unique(number).tolist()]
