"""The catalogue of a process that holds some of the items; others hold the rest."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.ranges import slices
from recbole_hm4sr.layers.ranking import Alive, order_by_score, refuse_unranked
from recbole_hm4sr.layers.scorers import InnerProducts, UserRows
from recbole_hm4sr.layers.sharded_softmax import sharded_cross_entropy
from recbole_hm4sr.layers.softmax import HiddenPairs
from recbole_hm4sr.parallel.rows import global_rows
from recbole_hm4sr.parallel.shards import Shards


@dataclass(frozen=True, kw_only=True)
class ShardedCatalogue(Catalogue):
    """Consecutive items, scored together with those of other processes.

    All processes call a method together. :meth:`of` and :meth:`loss` answer each process's own
    questions; all other methods are of the same users and items in all processes, and give the same
    answer in all.

    Attributes:
        rows: Of the own items. Shape ``[I_own, M, D]``.
        scorer: Inner products, or a memory whose part of the scores is that of the own items.
        shards: Who holds which items.
    """

    shards: Shards

    @property
    def _n_rows_of_blocks(self) -> int:
        """Those of the longest part: the processes rank the same users together."""
        return self.shards.longest

    def _looked_up(self, rows: Tensor, items: Tensor) -> Tensor:
        return self.shards.look_up(rows, items)

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of all items, or of some, without gradient: see :meth:`Catalogue.scores`."""
        if items is None:
            return self.shards.join(super().scores(users).T.contiguous()).T
        if items.ndim == 1:
            return self.scores(users, items[:, None])[:, 0]
        return self.parts(users, items).sum(dim=2)

    @torch.no_grad()
    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each part adds to the scores of some items: see :meth:`Catalogue.parts`."""
        found = super().parts(users, items)
        if isinstance(self.scorer, InnerProducts):
            return found
        products, added = found.tensor_split([self.rows.shape[1]], dim=2)
        return torch.cat([products, self.shards.sum(added.contiguous())], dim=2)

    @torch.no_grad()
    def by_history_item(self, users: UserRows, items: Tensor) -> Tensor:
        """See :meth:`Catalogue.by_history_item`."""
        return self.shards.sum(super().by_history_item(users, items).contiguous())

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy of the own rows' targets among all items but the seen ones. A scalar."""
        # Also where losses are those of the rows at hand: no process can score its rows alone.
        joined = global_rows(len(rows.targets), always=True)
        users = self.prepared(users.map(joined.gather))
        return sharded_cross_entropy(
            users.vectors.flatten(1),
            self.table(),
            rows,
            self.shards,
            joined,
            added=users.sparse,
            n_padding=self._n_padding_of_loss,
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
