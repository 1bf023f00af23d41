"""The catalogue: the one door to items, for inputs, losses, scores and ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.ranges import slices, within
from recbole_hm4sr.layers.ranking import (
    Alive,
    block_shape,
    count_better,
    is_better,
    order_by_score,
    require_numbers,
    top_k,
)
from recbole_hm4sr.layers.scorers import Candidates, HasParts, InnerProducts, Scorer, UserRows
from recbole_hm4sr.layers.similarity import Dot, Similarity
from recbole_hm4sr.layers.softmax import (
    HiddenPairs,
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
class Catalogue:
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
    """

    rows: Tensor
    items: Tensor | None = None
    similarity: Similarity = field(default_factory=Dot)
    scorer: Scorer = field(default_factory=InnerProducts)
    n_padding: int = 0
    left_out: Tensor | None = None

    # --- items ---------------------------------------------------------------------------------

    def of(self, items: Tensor) -> Tensor:
        """The rows of some items, which it must hold. Shapes ``[N]``, int64, to ``[N, M, D]``."""
        return self.rows.index_select(0, self._numbers(items))

    def stream(self: Held, m: int) -> Held:
        """The catalogue of one modality, scored by its inner products."""
        return replace(self, rows=self.rows[:, m : m + 1], scorer=InnerProducts())

    def table(self) -> Tensor:
        """Vectors whose inner products with prepared users are scores. Shape ``[K, M·D]``."""
        return self._mapped.flatten(1)

    @cached_property
    def _mapped(self) -> Tensor:
        return self.similarity.items(self.rows)

    def _numbers(self, items: Tensor) -> Tensor:
        return items if self.items is None else torch.searchsorted(self.items, items)

    def _between(self, part: slice) -> Candidates:
        """The candidates of consecutive rows, as views."""
        if self.items is not None:
            return Candidates(self.items[part], self._mapped[part], ascending=True)
        items = torch.arange(part.start, part.stop, device=self.rows.device)
        return Candidates(items, self._mapped[part], ascending=True)

    def _named(self, items: Tensor) -> Candidates:
        """The candidates of some items, of any shape."""
        rows = self._mapped.index_select(0, self._numbers(items).flatten())
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
                n_padding=max(self.n_padding, int(isinstance(self.scorer, MemoryScorer))),
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

    # --- ranks ---------------------------------------------------------------------------------

    @torch.no_grad()
    def ranks(
        self,
        users: UserRows,
        targets: Tensor,
        seen: HiddenPairs | None = None,
        alive: Alive | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Ranks of the targets, from 1; equal scores are ordered by item, padding is no candidate.

        Args:
            users: N rows.
            targets: Shape ``[N]``, int64.
            seen: Pairs of a row and an item that its user has seen, never its target.
            alive: Says which other items are candidates of a row; None for all.

        Returns:
            Ranks among the candidates, and among those but the seen; each of shape ``[N]``, int64.

        Raises:
            TrainingError: If a score is NaN or a target's score is infinite.
        """
        users = self.prepared(users)
        n_users, width = block_shape(len(targets), len(self.rows), self.rows.device.type)
        found = [
            self._rank_some(
                users.select(own),
                self._numbers(targets[own]),
                self._seen_by(seen, own),
                width,
                None if alive is None else alive._replace(moments=alive.moments[own]),
            )
            for own in slices(len(targets), n_users)
        ]
        ranks, better_seen = (torch.cat(parts) for parts in zip(*found, strict=True))
        return ranks, ranks - better_seen

    def _rank_some(
        self,
        users: UserRows,
        targets: Tensor,
        seen: tuple[Tensor, Tensor],
        width: int,
        alive: Alive | None,
    ) -> tuple[Tensor, Tensor]:
        """Ranks of some users' targets, and how many seen items are better."""
        blocks = slices(len(self.rows), width)
        own = torch.empty(0) if len(blocks) == 1 else self._own_scores(users, targets, blocks)
        ranks, better_seen = torch.ones_like(targets), torch.zeros_like(targets)
        for part in blocks:
            scores = self._masked_block(users, part)
            columns = targets - part.start
            if len(blocks) == 1:
                own = scores.gather(1, columns[:, None])
            else:  # a product of other users may round a score in another way
                here = ((columns >= 0) & (columns < scores.shape[1])).nonzero()[:, 0]
                scores[here, columns[here]] = own[here, 0]
            require_numbers(scores, own)
            if alive is not None:
                alive.hide_others(scores, self._between(part).items)
            ranks += count_better(scores, own, columns)
            rows, items = within(part, *seen)
            better = is_better(scores[rows, items], own[rows, 0], items, columns[rows])
            better_seen += torch.bincount(rows[better], minlength=len(targets))
        return ranks, better_seen

    def _own_scores(self, users: UserRows, targets: Tensor, blocks: Sequence[slice]) -> Tensor:
        """Scores of the targets, each of the block that holds it. Shape ``[N, 1]``."""
        found = []
        numbers = []
        for part in blocks:
            here = ((targets >= part.start) & (targets < part.stop)).nonzero()[:, 0]
            if len(here):
                scores = self.block(users.select(here), part)
                found.append(scores.gather(1, targets[here, None] - part.start))
                numbers.append(here)
        return torch.cat(found)[torch.cat(numbers).argsort()]

    def _seen_by(self, seen: HiddenPairs | None, rows: slice) -> tuple[Tensor, Tensor]:
        """The seen items of some rows: rows, counted from the first, and numbers of the items."""
        if seen is None:
            nothing = torch.empty(0, dtype=torch.int64, device=self.rows.device)
            return nothing, nothing
        pairs = seen.pairs[int(seen.begins[rows.start]) : int(seen.begins[rows.stop])]
        return pairs[:, 0] - rows.start, self._numbers(pairs[:, 1].contiguous())

    def _masked_block(self, users: UserRows, part: slice) -> Tensor:
        """A block whose padding item, if it is there, has minus infinity."""
        scores = self.block(users, part)
        if self.items is None:
            scores[:, : int(part.start == 0)] = -torch.inf
        else:
            scores.masked_fill_(self.items[part] == 0, -torch.inf)
        return scores

    @torch.no_grad()
    def top(
        self, users: UserRows, k: int, seen: HiddenPairs | None = None
    ) -> tuple[Tensor, Tensor]:
        """The best items of each user; equal scores are ordered by item, padding is no candidate.

        Args:
            users: N rows.
            k: From 1 to K.
            seen: Pairs of a row and an item that is no candidate of it.

        Returns:
            Scores, best first, and items, both of shape ``[N, k]``. Where a user has fewer
            candidates, the last scores are minus infinity and their items mean nothing.
        """
        users = self.prepared(users)
        n_rows = len(users.vectors)
        n_users, width = block_shape(n_rows, len(self.rows), self.rows.device.type)
        found = [
            self._top_of_some(
                users.select(own),
                k,
                self._seen_by(seen, own),
                width,
            )
            for own in slices(n_rows, n_users)
        ]
        values, numbers = (torch.cat(parts) for parts in zip(*found, strict=True))
        return values, numbers if self.items is None else self.items[numbers]

    def _top_of_some(
        self, users: UserRows, k: int, seen: tuple[Tensor, Tensor], width: int
    ) -> tuple[Tensor, Tensor]:
        values, numbers = None, None
        for part in slices(len(self.rows), width):
            scores = self._masked_block(users, part)
            scores[within(part, *seen)] = -torch.inf
            best, columns = top_k(scores, min(k, scores.shape[1]))
            columns = columns + part.start
            if values is not None and numbers is not None:
                best, columns = torch.cat([values, best], dim=1), torch.cat([numbers, columns], 1)
                best, columns = order_by_score(best, columns)
            values, numbers = best[:, :k], columns[:, :k]
        assert values is not None
        assert numbers is not None
        return values, numbers
