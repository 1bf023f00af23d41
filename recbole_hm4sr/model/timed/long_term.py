"""The scorer of MOJITO: inner products, the moment's part, and a long-term part."""

import torch
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.ranges import slices
from recbole_hm4sr.layers.scorers import Candidates, UserRows

_NUMBERS_AT_A_TIME = 2**24


class LongTermScorer:
    r"""Adds to the inner products what does not depend on the item, and the long-term part.

    .. math:: (1 - l) |e|^2 + l \sum_f softmax_f(e \cdot f)\, (e \odot e) \cdot f

    Of users it reads ``moment``, ``[N]``, ``long``, the vectors f, ``[N, S, D]``, and
    ``is_hidden``, those of them that count nothing, ``[N, S]``; also ``history``, ``[N, D]``, if
    there is one: what it adds to the vector that an item is multiplied with, before all is divided
    by ``length``.

    Args:
        weight: Of the long-term part.
        share: l, of what is learned from the set.
        length: Of a window, for the term of the history.
    """

    part = "long term and moment"

    def __init__(self, weight: float, share: float, length: int) -> None:
        self.weight = weight
        self.share = share
        self.length = length

    def prepare(self, users: UserRows, catalogue: Catalogue) -> UserRows:  # noqa: ARG002
        """Nothing is computed before."""
        return users

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Scores of users and candidates. Shape ``[N, K]``, or ``[N, C]`` for own candidates."""
        rows = candidates.rows[..., 0, :]
        return self.short(users, rows) + self.weight * self.long(users, rows)

    def short(self, users: UserRows, rows: Tensor) -> Tensor:
        """The short-term part.

        Args:
            users: N rows.
            rows: Items' vectors, ``[K, D]``, or each user's own, ``[N, C, D]``.
        """
        vectors = users.vectors[:, 0]
        shared = rows.ndim == 2
        products = vectors @ rows.T if shared else (vectors[:, None] * rows).sum(dim=-1)
        return products + users.side["moment"][:, None]

    def long(self, users: UserRows, rows: Tensor) -> Tensor:
        """The long-term part; arguments as of :meth:`short`."""
        vectors, hidden = users.side["long"], users.side["is_hidden"]
        step = max(1, _NUMBERS_AT_A_TIME // (vectors.shape[1] * rows.shape[-2]))
        parts = [
            self._long(vectors[some], hidden[some], rows if rows.ndim == 2 else rows[some])
            for some in slices(len(vectors), step)
        ]
        found = torch.cat(parts)
        if "history" not in users.side:
            return found
        history = users.side["history"]
        shared = rows.ndim == 2
        term = history @ rows.T if shared else (history[:, None] * rows).sum(dim=-1)
        return (found + term) / self.length

    def profiles(self, items: Tensor, vectors: Tensor, hidden: Tensor) -> Tensor:
        """What an item is multiplied with in the long-term part.

        Args:
            items: One item for each set. Shape ``[N, D]``.
            vectors: The sets. Shape ``[N, S, D]``.
            hidden: Shape ``[N, S]``, bool.

        Returns:
            Shape ``[N, D]``.
        """
        logits = (vectors * items[:, None]).sum(dim=-1)
        weights = logits.masked_fill(hidden, torch.finfo(logits.dtype).min).softmax(dim=1)
        learned = (weights[..., None] * vectors).sum(dim=1)
        return items * (1 - self.share + self.share * learned)

    def _long(self, vectors: Tensor, hidden: Tensor, rows: Tensor) -> Tensor:
        product = "nsd,kd->nsk" if rows.ndim == 2 else "nsd,nkd->nsk"
        logits = torch.einsum(product, vectors, rows)
        # Finite, so that a set without any item that counts gives numbers.
        lowest = torch.finfo(logits.dtype).min
        weights = logits.masked_fill(hidden[..., None], lowest).softmax(dim=1)
        squares = rows.square()
        profile = (weights * torch.einsum(product, vectors, squares)).sum(dim=1)  # [n, K]
        return (1 - self.share) * squares.sum(dim=-1) + self.share * profile
