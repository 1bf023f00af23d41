"""Ranks of targets and best items among rows that are scored a block at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
from recbole_hm4sr.layers.scorers import Candidates, UserRows
from recbole_hm4sr.layers.softmax import HiddenPairs


class RankedRows:
    """The base of a catalogue: what it makes of its blocks of scores.

    Attributes:
        rows: Shape ``[K, M, D]``.
        items: The item of each row, ascending; None if they are consecutive. Shape ``[K]``, int64.
        first: Item of the first row, where they are consecutive.
    """

    rows: Tensor
    items: Tensor | None
    first: int

    def prepared(self, users: UserRows) -> UserRows:
        """The rows as :meth:`block` reads them."""
        raise NotImplementedError

    def block(self, users: UserRows, items: slice) -> Tensor:
        """Scores of consecutive rows. Shape ``[N, end - begin]``."""
        raise NotImplementedError

    def _between(self, part: slice) -> Candidates:
        """The candidates of consecutive rows."""
        raise NotImplementedError

    def _numbers(self, items: Tensor) -> Tensor:
        """The rows of some items; below 0 or from K on for items that are not here."""
        raise NotImplementedError

    @property
    def _n_rows_of_blocks(self) -> int:
        """The rows that blocks of users and rows are cut for: K."""
        return len(self.rows)

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
        n_users, width = block_shape(len(targets), self._n_rows_of_blocks, self.rows.device.type)
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
            if len(blocks) == 1:
                own = scores.gather(1, targets[:, None])
            require_numbers(scores, own)
            better = self._count_better(scores, own, targets, seen, part, alive)
            ranks += better[0]
            better_seen += better[1]
        return ranks, better_seen

    def _count_better(
        self,
        scores: Tensor,
        own: Tensor,
        targets: Tensor,
        seen: tuple[Tensor, Tensor],
        part: slice,
        alive: Alive | None,
    ) -> tuple[Tensor, Tensor]:
        """How many items of a block, and seen items, are better than each row's target."""
        columns = targets - part.start
        # A product of other users may round the target's score in another way.
        here = ((columns >= 0) & (columns < scores.shape[1])).nonzero()[:, 0]
        scores[here, columns[here]] = own[here, 0]
        if alive is not None:
            alive.hide_others(scores, self._between(part).items)
        rows, items = within(part, *seen)
        better = is_better(scores[rows, items], own[rows, 0], items, columns[rows])
        better_seen = torch.bincount(rows[better], minlength=len(targets))
        return count_better(scores, own, columns), better_seen

    def _own_scores(self, users: UserRows, targets: Tensor, blocks: Sequence[slice]) -> Tensor:
        """Scores of the targets, each of the block that holds it; 0 of one that none does.

        Shape ``[N, 1]``.
        """
        own = users.vectors.new_zeros(len(targets), 1)
        for part in blocks:
            here = ((targets >= part.start) & (targets < part.stop)).nonzero()[:, 0]
            if len(here):
                scores = self.block(users.select(here), part)
                own = own.to(scores)
                own[here] = scores.gather(1, targets[here, None] - part.start)
        return own

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
            scores[:, : int(self.first + part.start == 0)] = -torch.inf
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
        n_users, width = block_shape(n_rows, self._n_rows_of_blocks, self.rows.device.type)
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
        return values, numbers + self.first if self.items is None else self.items[numbers]

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
