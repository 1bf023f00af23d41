"""Attributes of items: trained vectors of their values, and the loss that foretells them."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.softmax import TargetShares

Array = np.ndarray[Any, Any]


class AttributeRows(nn.Module):
    """The sum or the mean of the vectors of an item's values of one attribute.

    An item without values has zeros, but where items have one value each: there 0, no value, is
    one as well.

    Args:
        values: Numbers of each item's values, 0 behind them. Shape ``[I, c]``, int64.
        n_values: V, 0 included.
        width: D of the vectors.
        pooling: What an item with several values has.
        is_single: Whether items have one value each.
    """

    values: Tensor

    def __init__(
        self,
        values: Array,
        *,
        n_values: int,
        width: int,
        pooling: Literal["sum", "mean"],
        is_single: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_values = n_values
        self.pooling = pooling
        self.is_single = is_single
        self.embedding = nn.Embedding(n_values, width)
        self.register_buffer("values", torch.from_numpy(values), persistent=False)

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""
        values = self.values if items is None else self.values.index_select(0, items)
        vectors = self.embedding(values)  # [K, c, D]
        if self.is_single:
            return vectors[:, 0]
        counted = (values > 0).to(vectors.dtype)
        if self.pooling == "mean":
            counted = counted / counted.sum(dim=1, keepdim=True).clamp(min=1)
        return (counted[:, None] @ vectors)[:, 0]


def attribute_loss(
    logits: Tensor,
    values: Tensor,
    targets: Tensor,
    *,
    divisor: float,
    shares: TargetShares | None = None,
) -> Tensor:
    r"""Multi-label cross-entropy of the values of the target items.

    .. math:: \frac1{B (V - 1)} \sum_{i, v \ge 1} softplus(z_{iv}) - z_{iv} y_{iv}

    with :math:`y_{iv}` how often the target of row i has the value v.

    Args:
        logits: z, with a column for 0, no value, that is left out. Shape ``[B, V]``.
        values: Numbers of each item's values. Shape ``[I, c]``, int64.
        targets: Target of each row. Shape ``[B]``, int64.
        divisor: What the sum over the rows is divided by.
        shares: Several targets of each row, of which y is then the weighted sum.

    Returns:
        Scalar.
    """
    n_values = max(1, logits.shape[1] - 1)
    own = values.index_select(0, targets)
    at_targets = logits.gather(1, own).masked_fill(own == 0, 0).sum()
    if shares is not None:
        rows, items = (column.contiguous() for column in shares.pairs.unbind(dim=1))
        own = values.index_select(0, items)
        of_pairs = logits.index_select(0, rows).gather(1, own).masked_fill(own == 0, 0)
        at_targets = (of_pairs.sum(dim=1) * shares.weights.to(logits.dtype)).sum()
    return (F.softplus(logits[:, 1:]).sum() - at_targets) / (divisor * n_values)
