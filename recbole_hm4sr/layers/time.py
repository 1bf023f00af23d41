"""Time encodings: the gap since the last interaction, and the moment itself."""

import math
from typing import Any

import torch
from torch import Tensor, nn

_NEVER = torch.iinfo(torch.int64).max


def bucketize_gaps(gaps: Tensor, *, buckets_per_doubling: float, n_buckets: int) -> Tensor:
    r"""Map the time since the previous interaction to a logarithmic bucket.

    The bucket of a gap :math:`g` is :math:`\lfloor s \log_2(g + 1) \rfloor`: fine for seconds,
    coarse for years.

    Args:
        gaps: Seconds, 0 or more. Any shape, int64.
        buckets_per_doubling: s, positive.
        n_buckets: Rows of the table that the result indexes; longer gaps share the last.

    Returns:
        Buckets in ``[0, n_buckets)``. The shape of ``gaps``, int64.

    Example:
        >>> bucketize_gaps(torch.tensor([0, 1, 3]), buckets_per_doubling=10, n_buckets=50).tolist()
        [0, 10, 20]
    """
    # float32 puts one gap in five into the wrong bucket at 100 buckets per doubling.
    buckets = torch.floor(buckets_per_doubling * torch.log2(gaps.double() + 1)).long()
    return buckets.clamp(max=n_buckets - 1)


def count_buckets(longest_gap: int, buckets_per_doubling: float) -> int:
    """Rows of a table that has a bucket for every gap up to ``longest_gap`` seconds."""
    return math.floor(buckets_per_doubling * math.log2(longest_gap + 1)) + 1


class GapBuckets(nn.Module):
    """:func:`bucketize_gaps` with the same result in every library.

    A logarithm may differ in its last bit from one library to the next, and then a gap at the edge
    of a bucket falls into its neighbour. So the first gap of each bucket is kept as a whole number,
    and decides.

    Args:
        buckets_per_doubling: s, positive.
        n_buckets: Rows of the table that the result indexes; longer gaps share the last.
    """

    first_gaps: Tensor

    def __init__(self, *, buckets_per_doubling: float, n_buckets: int) -> None:
        super().__init__()
        self.buckets_per_doubling = buckets_per_doubling
        self.n_buckets = n_buckets
        first_gaps = _first_gaps(n_buckets, buckets_per_doubling)
        self.register_buffer("first_gaps", first_gaps, persistent=False)

    def forward(self, gaps: Tensor) -> Tensor:
        """Buckets of gaps in seconds, 0 or more; int64 to int64 of the same shape."""
        near = bucketize_gaps(
            gaps, buckets_per_doubling=self.buckets_per_doubling, n_buckets=self.n_buckets
        )
        below = (gaps < self.first_gaps[near]).long()
        above = (gaps >= self.first_gaps[near + 1]).long()
        return near - below + above


def _first_gaps(n_buckets: int, buckets_per_doubling: float) -> Tensor:
    """The smallest gap of each bucket or a later one, and one that no gap reaches behind them."""
    wanted = torch.arange(n_buckets)
    low, high = torch.full((n_buckets,), -1), torch.full((n_buckets,), 1 << 52)
    while bool(((high - low) > 1).any()):  # by halves: low is below the bucket, high is in it
        middle = (low + high) // 2
        buckets = bucketize_gaps(
            middle.clamp(min=0), buckets_per_doubling=buckets_per_doubling, n_buckets=1 << 40
        )
        reached = (buckets >= wanted) & (middle >= 0)
        open_ = (high - low) > 1
        high = torch.where(open_ & reached, middle, high)
        low = torch.where(open_ & ~reached, middle, low)
    return torch.cat([high, torch.tensor([_NEVER])])


class TimeEncoding(nn.Module):
    r"""Encodes each token's gap and moment: :math:`\tau_j = [u_j ; a_j]`.

    :math:`u_j` is a learned vector for the bucket of the gap :math:`t_j - t_{j-1}` (bucket 0 for
    the first token), and :math:`a_j[d] = \cos((w_d t_j + b_d) \cdot 10000^{-d/D})`.

    Args:
        hidden_size: D.
        longest_gap: Longest gap of the training part, in seconds; longer ones share its bucket.
        buckets_per_doubling: s.
        origin: Moment that counts as 0, in seconds since the epoch.
        scale: Seconds per unit of :math:`t`.

    Reference:
        Zhang et al., WWW 2025, arXiv:2501.14269; ``Temporal_MoE_C.get_time_embedding`` in the
        authors' code.

    Differs from the authors' code:
        Gaps are int64, and the moment is float64 before the cosine. There, float32 seconds are
        128 s apart, and the cosine's argument is rounded by up to 2 rad. Padding has no gap; there
        its logarithm is NaN.
    """

    decay: Tensor

    def __init__(
        self,
        *,
        hidden_size: int,
        longest_gap: int,
        buckets_per_doubling: float,
        origin: int,
        scale: float,
    ) -> None:
        super().__init__()
        self.origin = origin
        self.scale = scale
        n_buckets = count_buckets(longest_gap, buckets_per_doubling)
        self.buckets = GapBuckets(buckets_per_doubling=buckets_per_doubling, n_buckets=n_buckets)
        self.interval_embedding = nn.Embedding(n_buckets, hidden_size)
        self.frequency = nn.Parameter(torch.empty(hidden_size))
        self.phase = nn.Parameter(torch.zeros(hidden_size))
        exponents = torch.arange(hidden_size, dtype=torch.float64) / hidden_size
        self.register_buffer("decay", 10000.0**-exponents, persistent=False)

    def row_keys(self) -> dict[str, Any]:
        """What the rows of its table stand for: the first gap of each bucket, in seconds."""
        return {"interval_embedding.weight": self.buckets.first_gaps[:-1].cpu().numpy()}

    def forward(self, timestamps: Tensor, position: Tensor) -> Tensor:
        """Encode packed times.

        Args:
            timestamps: Seconds since the epoch, non-decreasing in a sequence. Shape ``[T]``,
                int64.
            position: Position of each token in its sequence. Shape ``[T]``, int64.

        Returns:
            Shape ``[T, 2D]``, of the parameters' dtype.
        """
        gaps = torch.diff(timestamps, prepend=timestamps[:1]).masked_fill(position == 0, 0)
        # Only the gap into the padding of rows of one length is negative; nothing reads it.
        buckets = self.buckets(gaps.clamp(min=0))
        moments = (timestamps - self.origin).double() / self.scale
        angles = (moments[:, None] * self.frequency.double() + self.phase.double()) * self.decay
        absolute = angles.cos().to(self.frequency.dtype)
        return torch.cat([self.interval_embedding(buckets), absolute], dim=-1)
