"""The contrast of two views of each row with the views of all other rows."""

import torch
from torch import Tensor

from recbole_hm4sr.parallel.rows import global_rows


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    r"""NT-Xent of inner products.

    .. math:: \frac1{2B} \sum_i \log \sum_{j \ne i} e^{z_i \cdot z_j / \tau}
        - z_i \cdot z_{i'} / \tau

    with z both views of all rows, and i' the other view of the row of i.

    Args:
        first: One view of each row. Shape ``[B, D]``.
        second: The other. Shape ``[B, D]``.
        temperature: :math:`\tau`, positive.

    Returns:
        Scalar; its mean over the processes is the loss of all rows.
    """
    joined = global_rows(len(first))
    views = torch.cat([joined.gather(first), joined.gather(second)])  # [2N, D]
    n_rows = len(views) // 2
    own = torch.arange(len(first), device=first.device) + joined.first
    own = torch.cat([own, own + n_rows])
    scores = torch.cat([first, second]) @ views.T / temperature  # [2B, 2N]
    positive = scores.gather(1, ((own + n_rows) % (2 * n_rows))[:, None])[:, 0]
    others = scores.scatter(1, own[:, None], -torch.inf)
    return (others.logsumexp(dim=1) - positive).sum() / (2 * joined.divisor)
