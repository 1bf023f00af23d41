"""Two dummy scorers: a memory that adds to the products, and a mix of two softmaxes."""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_hm4sr.layers.scorers import InnerProducts

RELATIONS = 2


def select(table, candidates):
    """Rows of a table: of candidates of all, ``[K, D]``, or of each user's own, ``[N, C, D]``."""
    return F.embedding(candidates.items, table)


def products(users, rows):
    """``[N, D]`` with ``[K, D]`` or ``[N, C, D]``."""
    return users @ rows.T if rows.ndim == 2 else (users[:, None] * rows).sum(dim=-1)


class DummyMemory(nn.Module):
    """What follows the last item (relation 0) and the one before it (relation 1) is likelier.

    Reads ``last_items`` of shape ``[N, 2]`` of the side; 0 where there is none.
    """

    part = "memory"

    def __init__(self, n_items, size=3):
        super().__init__()
        self.inner = InnerProducts()
        self.sources = nn.Parameter(0.1 * torch.randn(RELATIONS, n_items, size))
        self.follows = nn.Parameter(0.1 * torch.randn(RELATIONS, n_items, size))
        self.strength = nn.Parameter(torch.tensor([1.0, 0.5]))

    def prepare(self, users, catalogue):
        return self.inner.prepare(users, catalogue)

    def scores(self, users, candidates):
        total = self.inner.scores(users, candidates)
        for relation in range(RELATIONS):
            last = users.side["last_items"][:, relation]
            source = F.embedding(last, self.sources[relation]) * (last > 0)[:, None]
            added = products(source, select(self.follows[relation], candidates))
            total = total + self.strength[relation] * added
        return total


class SoftmaxMix(nn.Module):
    """The logarithm of a mixture of the modalities' softmaxes over all items."""

    part = "mixing"

    def __init__(self, n_modalities=2):
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(0.3, -0.2, n_modalities))
        self.largest_block = 0

    def prepare(self, users, catalogue):
        return users.with_side(log_sums=catalogue.log_sum_exp(users, self.each))

    def each(self, users, candidates):
        """Scores of the modalities one by one. Shape ``[N, K, M]``."""
        rows = candidates.rows
        self.largest_block = max(self.largest_block, len(users.vectors) * rows.shape[-3])
        return torch.einsum(
            "nmd,kmd->nkm" if rows.ndim == 3 else "nmd,nkmd->nkm", users.vectors, rows
        )

    def scores(self, users, candidates):
        shares = self.each(users, candidates) - users.side["log_sums"][:, None]
        return (shares + self.weights.log_softmax(dim=0)).logsumexp(dim=2)
