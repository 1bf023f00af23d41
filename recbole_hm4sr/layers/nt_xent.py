"""The contrast of two views of each row with the views of all other rows."""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.softmax import linear_cross_entropy
from recbole_hm4sr.parallel.rows import GlobalRows, global_rows


def nt_xent(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float,
    is_cosine: bool = False,
    ids: Tensor | None = None,
) -> Tensor:
    r"""NT-Xent of inner products or cosines.

    .. math:: \frac1{2B} \sum_i \log \sum_{j \ne i} e^{z_i \cdot z_j / \tau}
        - z_i \cdot z_{i'} / \tau

    with z both views of all rows, and i' the other view of the row of i.

    Args:
        first: One view of each row. Shape ``[B, D]``.
        second: The other. Shape ``[B, D]``.
        temperature: :math:`\tau`, positive.
        is_cosine: Whether the views are divided by their lengths.
        ids: Rows with equal ids, as of their targets, are no negatives of each other; None where
            all are. Shape ``[B]``, int64.

    Returns:
        Scalar; its mean over the processes is the loss of all rows.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
        2020, arXiv:2002.05709.
    """
    if is_cosine:
        first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    joined = global_rows(len(first))
    views = torch.cat([joined.gather(first), joined.gather(second)])  # [2N, D]
    n_rows = len(views) // 2
    own = torch.arange(len(first), device=first.device) + joined.first
    return linear_cross_entropy(
        torch.cat([first, second]) / temperature,
        views,
        torch.cat([own + n_rows, own]),
        excluded=_excluded(own, n_rows, joined, ids),
        divisor=2 * joined.divisor,
    )


def _excluded(own: Tensor, n_rows: int, joined: GlobalRows, ids: Tensor | None) -> Tensor:
    """Where a view of all rows is no negative of one of the own rows. Shape ``[2B, 2N]``, bool."""
    is_own = own[:, None] == torch.arange(n_rows, device=own.device)  # [B, N]
    is_same = is_own if ids is None else ids[:, None] == joined.gather(ids)
    but_own = is_same & ~is_own  # the other view of the own row is the positive
    return torch.cat([torch.cat([is_same, but_own], 1), torch.cat([but_own, is_same], 1)])
