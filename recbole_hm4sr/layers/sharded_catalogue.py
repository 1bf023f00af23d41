"""The catalogue of a process that holds some of the items; others hold the rest."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.ranges import slices
from recbole_hm4sr.layers.ranking import Alive, order_by_score, refuse_unranked
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.sharded_softmax import sharded_cross_entropy
from recbole_hm4sr.layers.softmax import HiddenPairs
from recbole_hm4sr.parallel.shards import Shards


@dataclass(frozen=True, kw_only=True)
class ShardedCatalogue(Catalogue):
    """Consecutive items, scored by their inner products together with those of other processes.

    All processes call a method together. :meth:`of`, :meth:`loss` and :meth:`scores` of named items
    answer each process's own questions; :meth:`scores` of all items, :meth:`ranks` and :meth:`top`
    are of the same users in all processes, and give the same answer in all.

    Attributes:
        rows: Of the own items. Shape ``[I_own, M, D]``.
        shards: Who holds which items.
    """

    shards: Shards

    def _looked_up(self, rows: Tensor, items: Tensor) -> Tensor:
        return self.shards.look_up(rows, items)

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of all items, or of some: see :meth:`Catalogue.scores`."""
        own = super().scores(users, items)
        return own if items is not None else self.shards.join(own.T.contiguous()).T

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy of the own rows' targets among all items but the seen ones. A scalar."""
        users = self.prepared(users)
        return sharded_cross_entropy(
            users.vectors.flatten(1),
            self.table(),
            rows,
            self.shards,
            n_padding=self.n_padding,
            left_out=self.left_out,
        )

    def _rank_some(
        self,
        users: UserRows,
        targets: Tensor,
        seen: tuple[Tensor, Tensor],
        width: int,
        alive: Alive | None,
    ) -> tuple[Tensor, Tensor]:
        blocks = slices(len(self.rows), width)
        own = self.shards.sum(self._own_scores(users, targets, blocks))
        better, better_seen = torch.zeros_like(targets), torch.zeros_like(targets)
        are_numbers = torch.isfinite(own).all()
        for part in blocks:
            scores = self._masked_block(users, part)
            are_numbers &= ~torch.isnan(scores.sum(dim=1)).any()
            here = self._count_better(scores, own, targets, seen, part, alive)
            better += here[0]
            better_seen += here[1]
        wrong = (~are_numbers).to(better).expand_as(better)
        better, better_seen, wrong = self.shards.sum(torch.stack([better, better_seen, wrong]))
        if wrong.any():  # in all processes at once
            refuse_unranked()
        return better + 1, better_seen

    @torch.no_grad()
    def top(
        self, users: UserRows, k: int, seen: HiddenPairs | None = None
    ) -> tuple[Tensor, Tensor]:
        """The best of all items: see :meth:`Catalogue.top`."""
        values, items = super().top(users, k, seen)
        missing = (0, k - values.shape[1])  # where fewer items are held here
        values, items = F.pad(values, missing, value=-torch.inf), F.pad(items, missing)
        values, items = (self.shards.beside(found) for found in (values, items))
        values, items = order_by_score(values, items)
        return values[:, :k], items[:, :k]
