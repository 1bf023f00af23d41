"""The best items under rules that depend on what was chosen before, one item after the other.

``max_per``: at most so many items of each value of a column; an item counts under each of its
values. ``diversity``: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). The next
item is the one with the largest ``(1 - diversity) * relevance - diversity * similarity``, where the
relevance is the score, scaled to 0 to 1 over the user's pool, and the similarity the largest cosine
with an item that is chosen already.

Both choose from a pool, the best items by score. It is enlarged for users for whom ``max_per``
leaves too few.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_hm4sr.layers.ranking import top_k

# A pool's vectors never exceed 2^26 numbers, 256 MB.
_MOST_VALUES = 1 << 26
_WIDER = 8


@dataclass(frozen=True)
class Limits:
    """How many items of each value may be chosen.

    Attributes:
        values: Numbers of values, item after item. Shape ``[N]``, int64.
        starts: First value of each item, and N. Shape ``[I + 1]``, int64.
        most: Of each value. Shape ``[V]``, int64.
    """

    values: Tensor
    starts: Tensor
    most: Tensor

    def of_items(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """The values of some items, side by side.

        Args:
            items: Shape ``[B, P]``, int64.

        Returns:
            Values, and which of them there are, both of shape ``[B, P, W]``.
        """
        begins = self.starts[items]
        lengths = self.starts[items + 1] - begins
        width = int(lengths.max()) if lengths.numel() else 0
        steps = torch.arange(width, device=items.device)
        there = steps < lengths[..., None]
        return self.values[(begins[..., None] + steps) * there], there


@dataclass(frozen=True)
class Picker:
    """Chooses items of pools.

    Attributes:
        limits: Of ``max_per``; None without.
        vectors: Unit rows of the items. Shape ``[I, F]``, float16 or float32; None without
            ``diversity``.
        diversity: From 0, the order of the scores, to 1, similarity alone.
    """

    limits: Limits | None = None
    vectors: Tensor | None = None
    diversity: float = 0.0

    def top(self, scores: Tensor, ids: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
        """The items that are chosen for each user.

        Args:
            scores: Minus infinity where an item may not be chosen. Shape ``[B, K]``.
            ids: Item of each column; None if that is the item's number. Shape ``[K]``, int64.
            k: At most K.

        Returns:
            Scores, minus infinity where nothing is left, and items, in the order of choice. Both of
            shape ``[B, k]``.
        """
        n_columns = scores.shape[1]
        pool = min(n_columns, pool_size(k))
        values, items = self._from_pool(scores, ids, k, pool)
        while pool < n_columns:
            rows = torch.nonzero(torch.isinf(values[:, -1])).squeeze(1)
            rows = rows[torch.isfinite(scores[rows]).sum(dim=1) > pool]
            if not len(rows):
                break
            pool = min(n_columns, pool * _WIDER)
            values[rows], items[rows] = self._from_pool(scores[rows], ids, k, pool)
        return values, items

    def _from_pool(
        self, scores: Tensor, ids: Tensor | None, k: int, pool: int
    ) -> tuple[Tensor, Tensor]:
        width = 1 if self.vectors is None else self.vectors.shape[1]
        found: list[tuple[Tensor, Tensor]] = []
        for rows in scores.split(max(1, _MOST_VALUES // (pool * width))):
            values, columns = top_k(rows, pool)
            items = columns if ids is None else ids[columns]
            chosen = self._choose(values, items, k)
            there = chosen >= 0
            places = chosen.clamp(min=0)
            found.append(
                (
                    values.gather(1, places).masked_fill_(~there, -torch.inf),
                    items.gather(1, places).masked_fill_(~there, 0),
                )
            )
        return torch.cat([it[0] for it in found]), torch.cat([it[1] for it in found])

    def _choose(self, scores: Tensor, items: Tensor, k: int) -> Tensor:
        """Places in the pool, in the order of choice; -1 where nothing is left. ``[B, k]``."""
        is_open = ~torch.isinf(scores)  # NaN comes out, and is refused then
        worth = scores if self.vectors is None else (1 - self.diversity) * _scaled(scores)
        near = _Nearest(self.vectors, items) if self.vectors is not None else None
        counts = _Counts(self.limits, items) if self.limits is not None else None
        every, chosen = torch.arange(len(scores), device=scores.device), []
        for _ in range(k):
            value = worth if near is None else worth - self.diversity * near.similarity
            # Of equal values the first, which has the better score.
            best = value.masked_fill(~is_open, -torch.inf).argmax(dim=1)
            there = is_open[every, best]
            chosen.append(torch.where(there, best, -1))
            is_open[every, best] = False
            if near is not None:
                near.add(best)
            if counts is not None:
                is_open &= counts.add(best, there)
        return torch.stack(chosen, dim=1)


def pool_size(k: int) -> int:
    """Items of a pool from which k are chosen: ten times as many, 100 to some 1,000."""
    return max(100, min(10 * k, 1000 + k))


def _scaled(scores: Tensor) -> Tensor:
    """Scores from 0 to 1 over each row; minus infinity stays out of it, and becomes 0."""
    there = ~torch.isinf(scores)
    low = scores.masked_fill(~there, torch.inf).amin(dim=1, keepdim=True)
    high = scores.amax(dim=1, keepdim=True)
    span = (high - low).masked_fill_(high <= low, 1)
    return ((scores - low) / span).masked_fill_(~there, 0)


class _Nearest:
    """The largest similarity of each item of a pool with one that is chosen; 0 before the first."""

    def __init__(self, vectors: Tensor, items: Tensor) -> None:
        self._rows = vectors[items].float()  # [B, P, F]
        self.similarity = self._rows.new_zeros(items.shape)
        self._is_first = True

    def add(self, best: Tensor) -> None:
        """Take in the places that were chosen. Shape ``[B]``, int64."""
        own = self._rows[torch.arange(len(best), device=best.device), best]
        found = torch.einsum("bpf,bf->bp", self._rows, own)
        self.similarity = found if self._is_first else torch.maximum(self.similarity, found)
        self._is_first = False


class _Counts:
    """How many items of each value are chosen."""

    def __init__(self, limits: Limits, items: Tensor) -> None:
        self._values, self._there = limits.of_items(items)  # [B, P, W]
        self._most = limits.most
        self._counts = torch.zeros(
            len(items), len(limits.most), dtype=torch.int64, device=items.device
        )

    def add(self, best: Tensor, there: Tensor) -> Tensor:
        """Take in the places that were chosen, and say which of the pool may still be.

        Args:
            best: Shape ``[B]``, int64.
            there: Which of them were chosen. Shape ``[B]``, bool.

        Returns:
            Shape ``[B, P]``, bool.
        """
        every = torch.arange(len(best), device=best.device)
        added = (self._there[every, best] & there[:, None]).long()
        self._counts.scatter_add_(1, self._values[every, best], added)
        is_full = (self._counts >= self._most).gather(1, self._values.flatten(1))
        return ~(is_full.view_as(self._there) & self._there).any(dim=2)
