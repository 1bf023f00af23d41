"""Batches of packed tokens."""

import dataclasses
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement
from recbole_hm4sr.layers.softmax import HiddenPairs, TargetShares

Array = np.ndarray[Any, Any]
Batch = TypeVar("Batch", bound="PackedBatch")


class DistinctItems(NamedTuple):
    """The items of the tokens of a batch, each once.

    Attributes:
        items: Ascending. Shape ``[N]``, int64.
        of_token: Index in ``items`` of each token's item. Shape ``[T]``, int64.
        counts: Tokens of each. Shape ``[N]``, int64.
    """

    items: Tensor
    of_token: Tensor
    counts: Tensor


class Requests(NamedTuple):
    """What is known of the request of each row that is read.

    Attributes:
        last_items: Of its whole history, newest first, 0 where that is shorter. Shape ``[N, K]``,
            int64.
        last_times: Their times, in the unit of the data; 0 where there is none. Shape ``[N, K]``,
            int64.
        lengths: n, items of the history, at most L. Shape ``[N]``, int64.
        moments: T, when the request is made. Shape ``[N]``, int64.
    """

    last_items: Tensor
    last_times: Tensor
    lengths: Tensor
    moments: Tensor


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """The tokens of a batch, and what is asked of them.

    Attributes:
        items: Shape ``[T]``, int64.
        times: In seconds since the epoch. Shape ``[T]``, int64.
        packing: Arrangement of the tokens.
        read_at: Tokens whose outputs are read; None for the last of each sequence. Shape ``[N]``,
            int64.
        targets: The item after each of them; None where none is trained. Shape ``[N]``, int64.
        distinct: The items of the tokens; None for rows of one length.
        seen: Items that are no candidates of a target; None if every item is one.
        wanted: Items of tokens and targets, ascending, on the host; None in evaluation. Shape
            ``[K]``, int64.
        requests: What is known of the request of each; None where nothing reads it.
        shares: Several targets of each, that item among them; None where it is the only one.
    """

    items: Tensor
    times: Tensor
    packing: Arrangement
    read_at: Tensor | None = None
    targets: Tensor | None = None
    distinct: DistinctItems | None = None
    seen: HiddenPairs | None = None
    wanted: Array | None = None
    requests: Requests | None = None
    shares: TargetShares | None = None

    def replace(self: Batch, **changes: Any) -> Batch:
        """The same batch with other values of some fields."""
        return dataclasses.replace(self, **changes)
