"""The catalogue: the one door to items, for inputs, losses, scores and ranks."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.ranges import slices
from recbole_hm4sr.layers.ranked_rows import RankedRows
from recbole_hm4sr.layers.scorers import (
    Candidates,
    HasHistory,
    HasParts,
    InnerProducts,
    Scorer,
    UserRows,
)
from recbole_hm4sr.layers.similarity import Dot, Similarity
from recbole_hm4sr.layers.softmax import (
    TargetShares,
    blockwise_log_sum_exp,
    label_scores,
    linear_cross_entropy,
    without_columns,
)

# Scores, or numbers of looked up rows, of drawn items that are held at a time.
_NUMBERS_AT_A_TIME = 2**21
_PRODUCTS_A_LOOKUP = 32  # scores by product that cost what a looked up row does
Held = TypeVar("Held", bound="Catalogue")


@dataclass(frozen=True)
class Catalogue(RankedRows):
    """Items that can be read and scored.

    Attributes:
        rows: Shape ``[K, M, D]``.
        items: The item of each row, ascending; None if the rows are all items in their order.
            Shape ``[K]``, int64.
        similarity: Maps users and items before their products.
        scorer: Makes scores of them.
        n_padding: So many items at its beginning are no candidates of :meth:`loss`.
        left_out: Rows that are no candidates of a loss, which are scored and ranked all the same;
            None for none. Shape ``[X]``, int64.
        first: Item of the first row, where the rows are consecutive items.
    """

    rows: Tensor
    items: Tensor | None = None
    similarity: Similarity = field(default_factory=Dot)
    scorer: Scorer = field(default_factory=InnerProducts)
    n_padding: int = 0
    left_out: Tensor | None = None
    first: int = 0

    # --- items ---------------------------------------------------------------------------------

    def of(self, items: Tensor) -> Tensor:
        """The rows of some items, which it must hold. Shapes ``[N]``, int64, to ``[N, M, D]``."""
        return self._looked_up(self.rows, items)

    def stream(self: Held, m: int) -> Held:
        """The catalogue of one modality, scored by its inner products."""
        return replace(self, rows=self.rows[:, m : m + 1], scorer=InnerProducts())

    def table(self) -> Tensor:
        """Vectors whose inner products with prepared users are scores. Shape ``[K, M·D]``."""
        return self._mapped.flatten(1)

    @property
    def _n_padding_of_loss(self) -> int:
        """So many items are no candidates of a loss: with a memory the padding item is none."""
        return max(self.n_padding, int(isinstance(self.scorer, MemoryScorer)))

    @cached_property
    def _mapped(self) -> Tensor:
        return self.similarity.items(self.rows)

    def _looked_up(self, rows: Tensor, items: Tensor) -> Tensor:
        """What is kept of some items. Shapes ``[K, ...]`` and ``[N]``, int64, to ``[N, ...]``."""
        return rows.index_select(0, self._numbers(items))

    def _numbers(self, items: Tensor) -> Tensor:
        """The rows of some items; below 0 or from K on for items that are not here."""
        if self.items is not None:
            return torch.searchsorted(self.items, items)
        return items - self.first if self.first else items

    def _between(self, part: slice) -> Candidates:
        """The candidates of consecutive rows, as views."""
        if self.items is not None:
            return Candidates(self.items[part], self._mapped[part], ascending=True)
        items = torch.arange(part.start, part.stop, device=self.rows.device) + self.first
        return Candidates(items, self._mapped[part], ascending=True)

    def _named(self, items: Tensor) -> Candidates:
        """The candidates of some items, of any shape."""
        rows = self._looked_up(self._mapped, items.flatten())
        return Candidates(items, rows.unflatten(0, items.shape))

    # --- scores --------------------------------------------------------------------------------

    def prepared(self, users: UserRows) -> UserRows:
        """The rows as :meth:`block` reads them: mapped, with what the scorer computes once."""
        # Made here, outside of what is computed once more for its gradient.
        _ = self._mapped
        mapped = self.similarity.users(users.vectors)
        return self.scorer.prepare(users._replace(vectors=mapped), self)

    def block(self, users: UserRows, items: slice) -> Tensor:
        """Scores of consecutive rows of the catalogue, with their gradient.

        Args:
            users: N rows of :meth:`prepared`.
            items: Begin and end of the rows, both given.

        Returns:
            Shape ``[N, end - begin]``.
        """
        return self.scorer.scores(users, self._between(items))

    def scores(self, users: UserRows, items: Tensor | None = None) -> Tensor:
        """Scores of the items that it holds, or of some.

        Args:
            users: N rows.
            items: One item a row, ``[N]``, or several, ``[N, C]``, int64; None for all rows of the
                catalogue, in one block.

        Returns:
            Shape ``[N, K]``, or the shape of ``items``.
        """
        users = self.prepared(users)
        if items is None:
            return self.block(users, slice(0, len(self.rows)))
        return self._own(users, items)

    def _own(self, users: UserRows, items: Tensor) -> Tensor:
        if items.ndim == 2:
            return self.scorer.scores(users, self._named(items))
        return self.scorer.scores(users, self._named(items[:, None]))[:, 0]

    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each modality, and the scorer, adds to the scores of some items.

        Args:
            users: N rows.
            items: Items of each row, ``[N, C]``, or the same of all, ``[K]``; int64.

        Returns:
            The sum over the last dimension is the score. Shape ``[N, K, M]``; with a scorer that
            has parts, as a memory, ``[N, K, M + R]``, one for each; for any other scorer
            ``[N, K, M + 1]``: the last is what it adds.
        """
        users, candidates = self.prepared(users), self._named(items)
        product = "bmd,kmd->bkm" if items.ndim == 1 else "bmd,bkmd->bkm"
        products = torch.einsum(product, users.vectors, candidates.rows)
        if isinstance(self.scorer, InnerProducts):
            return products
        if isinstance(self.scorer, HasParts):
            own = items if items.ndim == 2 else items.expand(len(products), -1)
            return torch.cat([products, self.scorer.parts(users, own)], dim=2)
        scores = self.scorer.scores(users, candidates)
        return torch.cat([products, (scores - products.sum(dim=2))[..., None]], dim=2)

    def scores_beside(
        self, users: UserRows, targets: Tensor | TargetShares, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of the targets and of items drawn beside them, with their gradients.

        Args:
            users: N rows.
            targets: Shape ``[N]``, int64; or several of each row, P in all.
            drawn: Items of each row, ``[N, K]``, or the same of all, ``[K]``; int64. Of the first a
                part of the users is scored at a time, and once more for the gradient.

        Returns:
            Shapes ``[N]``, or ``[P]``, and ``[N, K]``.
        """
        users = self.prepared(users)
        own = self._of_targets(users, targets)
        # Products with all rows cost less than looked up rows until these are far fewer.
        by_product = drawn.ndim == 2 and len(self.rows) <= _PRODUCTS_A_LOOKUP * drawn.shape[1]

        def scored(users: UserRows, drawn: Tensor) -> Tensor:
            if by_product:
                every = self.block(users, slice(0, len(self.rows)))
                return every.gather(1, self._numbers(drawn))
            return self.scorer.scores(users, self._named(drawn))

        width = len(self.rows) if by_product else drawn.shape[-1] * self._mapped[0].numel()
        step = max(1, _NUMBERS_AT_A_TIME // width)
        if drawn.ndim == 1 or len(drawn) <= step:
            return own, scored(users, drawn)
        parts = [
            checkpoint(scored, users.select(part), drawn[part], use_reentrant=False)
            for part in slices(len(drawn), step)
        ]
        return own, torch.cat(parts)

    def by_history_item(self, users: UserRows, items: Tensor) -> Tensor:
        """What a scorer that has a history's parts adds, by item of the history.

        Args:
            users: N rows.
            items: Items of each row. Shape ``[N, C]``, int64.

        Returns:
            As :meth:`~recbole_hm4sr.layers.scorers.HasHistory.by_history_item`. Shape
            ``[N, C, parts, K]``.
        """
        assert isinstance(self.scorer, HasHistory)
        return self.scorer.by_history_item(self.prepared(users), items)

    # --- losses --------------------------------------------------------------------------------

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy of the targets among all items but the seen ones. A scalar.

        With a memory the padding item is no candidate.
        """
        users = self.prepared(users)
        targets = rows.targets if rows.shares is None else rows.shares
        if isinstance(self.scorer, (InnerProducts, MemoryScorer)):
            return linear_cross_entropy(
                users.vectors.flatten(1),
                self.table(),
                targets,
                excluded=rows.seen,
                divisor=rows.joined.divisor,
                added=users.sparse,
                n_padding=self._n_padding_of_loss,
                left_out=self.left_out,
            )
        total = blockwise_log_sum_exp(
            lambda part: without_columns(
                self.block(users, part), part.start, self.n_padding, self.left_out
            ),
            n_rows=len(rows.targets),
            n_items=len(self.rows),
            hidden=rows.seen,
        )
        _, own = self._targets(users, targets)
        return (total - own).sum() / rows.joined.divisor

    def _of_targets(self, users: UserRows, targets: Tensor | TargetShares) -> Tensor:
        """Scores of the targets of prepared rows. Shape ``[N]``, or ``[P]`` of P pairs."""
        if isinstance(targets, Tensor):
            return self._own(users, targets)
        rows, items = (column.contiguous() for column in targets.pairs.unbind(dim=1))
        return self._own(users.select(rows), items)

    def _targets(self, users: UserRows, targets: Tensor | TargetShares) -> tuple[Tensor, Tensor]:
        """Of the targets of N prepared rows, what :func:`label_scores` says of their scores."""
        return label_scores(self._of_targets(users, targets), targets, len(users.vectors))

    def log_sum_exp(
        self, users: UserRows, scores: Callable[[UserRows, Candidates], Tensor]
    ) -> Tensor:
        """The logarithm of the sum over all items of the exponentials of some scores.

        What a scorer that normalises over the items computes in :meth:`Scorer.prepare`.

        Args:
            users: N rows.
            scores: Of users and candidates. Shape ``[N, K]``, or ``[N, K, ...]`` for several each.

        Returns:
            With its gradient. Shape ``[N]``, or ``[N, ...]``.
        """
        return blockwise_log_sum_exp(
            lambda part: scores(users, self._between(part)),
            n_rows=len(users.vectors),
            n_items=len(self.rows),
        )
