"""A memory as it was at one moment: a list of neighbours for each item and relation.

Ages and counts stay those of that moment, so a score needs neither events nor times. What each
relation counts for is still the request's own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.item_counts import Clock
from recbole_hm4sr.layers.memory import EventMemory
from recbole_hm4sr.layers.sparse_scores import FixedStore, ScoreRuns, runs_by_row

_ITEMS_AT_A_TIME = 256


class Neighbours(NamedTuple):
    """Neighbours of items, by item, relation and neighbour.

    Attributes:
        owners: Number of the item times R plus that of the relation; not falling. Shape ``[E]``,
            int64.
        items: The neighbour. Shape ``[E]``, int64.
        values: What it gets if the item is the newest of a history. Shape ``[E]``, float32.
    """

    owners: Tensor
    items: Tensor
    values: Tensor


class PaddedLists(NamedTuple):
    """Neighbours in lists of one length, those that add most first.

    Attributes:
        items: 0 where there are no more. Shape ``[I, L]``, int32.
        relations: Shape ``[I, L]``, uint8.
        values: 0 where there are no more. Shape ``[I, L]``, float32.
    """

    items: Tensor
    relations: Tensor
    values: Tensor


class FrozenMemory(nn.Module):
    """Reads the relations of rows as :class:`EventMemory` does, always as of one moment.

    Args:
        neighbours: Of all items.
        popular: Items of the popularity relation and their values, ``[P]`` each; None without that
            relation.
        clock: Of the memory.
        n_items: I.
        n_relations: R, popularity included.
        decay: q, what an item one step further back counts.
    """

    offsets: Tensor

    def __init__(  # what a memory is
        self,
        neighbours: Neighbours,
        popular: tuple[Tensor, Tensor] | None,
        *,
        clock: Clock,
        n_items: int,
        n_relations: int,
        decay: float,
    ) -> None:
        super().__init__()
        self.neighbours, self.popular, self.clock = neighbours, popular, clock
        self.n_items, self.n_relations, self.decay = n_items, n_relations, decay
        lists = torch.arange(n_items * n_relations + 1, device=neighbours.owners.device)
        self.register_buffer(
            "offsets", torch.searchsorted(neighbours.owners, lists), persistent=False
        )

    def runs(
        self, last_items: Tensor, moments: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[ScoreRuns, ...]:
        """What the memory says of rows; see :meth:`EventMemory.runs`. The moments are not read."""
        del moments
        n_rows, device = len(last_items), last_items.device
        rows, steps = last_items.nonzero(as_tuple=True)
        relations = torch.arange(self.n_relations, device=device)
        lists = last_items[rows, steps][:, None] * self.n_relations + relations  # [Q, R]

        def of_query(values: Tensor) -> Tensor:
            return values[:, None].expand_as(lists).flatten()

        own = runs_by_row(
            of_query(rows),
            self.offsets[lists].flatten(),
            self.offsets[lists + 1].flatten(),
            relations=relations.expand_as(lists).flatten(),
            steps=of_query(steps),
            snapshots=torch.zeros_like(lists).flatten(),
            weights=of_query(self.decay ** steps.to(dtype)),
            n_rows=n_rows,
            store=FixedStore(self.neighbours.items, self.neighbours.values),
        )
        if self.popular is None:
            return (own,)
        every = torch.arange(n_rows, device=device)
        items, values = self.popular
        popular = runs_by_row(
            every,
            torch.zeros_like(every),
            torch.full_like(every, len(items)),
            relations=torch.full_like(every, self.n_relations - 1),
            steps=torch.full_like(every, -1),
            snapshots=torch.zeros_like(every),
            weights=torch.ones(n_rows, dtype=dtype, device=device),
            n_rows=n_rows,
            store=FixedStore(items, values),
        )
        return own, popular

    def shortened(self, length: int, importance: Tensor) -> "FrozenMemory":
        """The same with fewer neighbours, those that add most.

        Args:
            length: At most as many of an item, of all relations together.
            importance: How much each relation counts. Shape ``[R]``.
        """
        place = self._places(importance)
        kept = Neighbours(*(column[place < length] for column in self.neighbours))
        return FrozenMemory(
            kept,
            self.popular,
            clock=self.clock,
            n_items=self.n_items,
            n_relations=self.n_relations,
            decay=self.decay,
        )

    def padded(self, importance: Tensor) -> PaddedLists:
        """All neighbours, in lists as long as the longest; see :meth:`shortened`."""
        place = self._places(importance)
        owners, items, values = self.neighbours
        length = int(place.max()) + 1 if len(place) else 1
        lists = PaddedLists(
            torch.zeros(self.n_items, length, dtype=torch.int32),
            torch.zeros(self.n_items, length, dtype=torch.uint8),
            torch.zeros(self.n_items, length, dtype=torch.float32),
        )
        of, relation = owners // self.n_relations, owners % self.n_relations
        for table, column in zip(lists, (items, relation, values), strict=True):
            table[of.cpu(), place.cpu()] = column.cpu().to(table.dtype)
        return lists

    def _places(self, importance: Tensor) -> Tensor:
        """Place of each neighbour in the list of its item, by what it adds. Shape ``[E]``."""
        owners, _, values = self.neighbours
        of, relation = owners // self.n_relations, owners % self.n_relations
        order = (values * importance.abs()[relation]).argsort(descending=True, stable=True)
        order = order[of[order].argsort(stable=True)]
        begins = torch.searchsorted(of, of)  # those of an item stand side by side in any order
        place = torch.empty_like(of)
        place[order] = torch.arange(len(of), device=of.device) - begins
        return place


@torch.no_grad()
def freeze_memory(memory: EventMemory, moment: int) -> FrozenMemory:
    """A memory as of one moment.

    Args:
        memory: Of a model.
        moment: T': only what was known before it is read; ages are counted to it.
    """
    n_items, n_relations = memory.events.n_items, memory.n_relations
    device = memory.events.starts.device
    found, popular = [], None
    for items in torch.arange(1, n_items, device=device).split(_ITEMS_AT_A_TIME):
        moments = torch.full_like(items, moment)
        *own, last = memory.runs(items[:, None], moments, torch.float64)
        if memory.popularity_days is None:
            own.append(last)
        elif popular is None:
            entries = last.select(slice(0, 1)).entries()
            popular = entries.items.long(), entries.values.float()
        found.append(_summed(own, items, n_relations, n_items))
    return FrozenMemory(
        Neighbours(*(torch.cat(columns) for columns in zip(*found, strict=True))),
        popular,
        clock=memory.clock,
        n_items=n_items,
        n_relations=n_relations,
        decay=memory.decay,
    )


def _summed(parts: list[ScoreRuns], items: Tensor, n_relations: int, n_items: int) -> Neighbours:
    """Entries of runs, whose rows are items, one a neighbour and relation."""
    entries = list(_entries(parts, items, n_relations, n_items))
    keys, cell = torch.unique(torch.cat([keys for keys, _ in entries]), return_inverse=True)
    values = torch.cat([values for _, values in entries])
    sums = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
    sums.scatter_add_(0, cell, values)
    return Neighbours(keys // n_items, keys % n_items, sums.float())


def _entries(
    parts: list[ScoreRuns], items: Tensor, n_relations: int, n_items: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys of item, relation and neighbour, and what the entry adds."""
    for runs in parts:
        numbers, others, values = runs.entries()
        owners = items[runs.rows] * n_relations + runs.relations
        yield owners[numbers] * n_items + others, values * runs.weights[numbers]
