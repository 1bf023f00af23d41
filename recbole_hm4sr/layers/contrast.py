"""Contrast of two views of each row with the views of all other rows: NT-Xent."""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.softmax import linear_cross_entropy


def nt_xent(
    first: Tensor,
    second: Tensor,
    rows: LossRows,
    *,
    temperature: float,
    is_cosine: bool = False,
    mask_same_target: bool = False,
) -> Tensor:
    r"""Each view against its row's other view, among all views of the batch but itself.

    .. math:: \frac1{2B} \sum_i \Bigl[ \log \sum_{j \ne i} e^{z_i \cdot z_j / \tau}
        - z_i \cdot z_{i'} / \tau \Bigr]

    with z the 2B views of both kinds and i' the other view of i's row.

    Args:
        first: Shape ``[B, D]``.
        second: Shape ``[B, D]``.
        rows: The rows of the batch; the views of other processes count too.
        temperature: :math:`\tau`, positive.
        is_cosine: Whether the views are divided by their lengths.
        mask_same_target: Whether the views of rows with the same target are no negatives of each
            other.

    Returns:
        Scalar; its mean over the processes is the loss of all rows.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
        2020, arXiv:2002.05709.
    """
    if is_cosine:
        first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    joined = rows.joined
    every = torch.cat([joined.gather(first), joined.gather(second)])  # [2N, D]
    n_all, own = len(every) // 2, torch.arange(len(first), device=first.device) + joined.first
    targets = torch.cat([own + n_all, own])
    excluded = _excluded(rows, own, n_all, mask_same_target=mask_same_target)
    return linear_cross_entropy(
        torch.cat([first, second]) / temperature,
        every,
        targets,
        excluded=excluded,
        divisor=2 * joined.divisor,
    )


def _excluded(rows: LossRows, own: Tensor, n_all: int, *, mask_same_target: bool) -> Tensor:
    """Where a view of the own rows has no other view as its negative. Shape ``[2B, 2N]``, bool."""
    is_own = own[:, None] == torch.arange(n_all, device=own.device)  # [B, N]
    if not mask_same_target:
        other = torch.zeros_like(is_own)
        return torch.cat([torch.cat([is_own, other], 1), torch.cat([other, is_own], 1)])
    is_same = rows.targets[:, None] == rows.joined.gather(rows.targets)
    but_own = is_same & ~is_own
    return torch.cat([torch.cat([is_same, but_own], 1), torch.cat([but_own, is_same], 1)])
