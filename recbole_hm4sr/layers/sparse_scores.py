"""Sparse parts of scores: few of very many pairs of a row and an item have one.

They are kept as runs: consecutive places of a store, with one row and one weight for all of them.
Only the entries of a block of rows are ever looked up, so that what is held grows with the runs of
a batch and not with its entries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from recbole_hm4sr.layers.ranges import expand_ranges, whole_numbers

# Keys of pairs: the row times this, plus the item.
_STRIDE = 2**31


class Store(Protocol):
    """Entries by place: the item that each scores, and its value before the weight of its run."""

    @property
    def n_places(self) -> int:
        """How many entries it has."""

    def read(self, places: Tensor, numbers: Tensor, runs: "ScoreRuns") -> tuple[Tensor, Tensor]:
        """Items, int, and values of entries.

        Args:
            places: Shape ``[E]``, int32 or int64.
            numbers: The run of each entry. Shape ``[E]``, int64.
            runs: Say from when they read.

        Returns:
            Shape ``[E]`` each.
        """


class FixedStore(NamedTuple):
    """A store whose values depend on nothing else."""

    items: Tensor
    values: Tensor

    @property
    def n_places(self) -> int:
        """How many entries it has."""
        return len(self.items)

    def read(self, places: Tensor, numbers: Tensor, runs: "ScoreRuns") -> tuple[Tensor, Tensor]:
        """Items and values of entries; see :class:`Store`."""
        del numbers
        values = self.values.index_select(0, places)
        return self.items.index_select(0, places), values.to(runs.weights.dtype)


class Entries(NamedTuple):
    """Entries of runs: each adds ``values`` times the weight of its run to one score.

    Attributes:
        numbers: Run of each entry, not falling. Shape ``[E]``, int64.
        items: Item that is scored. Shape ``[E]``, int.
        values: Shape ``[E]``.
    """

    numbers: Tensor
    items: Tensor
    values: Tensor


@dataclass(frozen=True)
class ScoreRuns:
    """Runs of entries of one store, by row.

    Attributes:
        rows: Row of each run, not falling. Shape ``[S]``, int64.
        begins: First place of each run. Shape ``[S]``, int64.
        ends: The place after its last. Shape ``[S]``, int64.
        relations: What the run says: number of its relation. Shape ``[S]``, int64.
        steps: Interactions between the item of the history that the run comes from and the newest;
            -1 where it comes from none. Shape ``[S]``, int64.
        snapshots: Number of the snapshot as of which items are counted. Shape ``[S]``, int64.
        weights: Shape ``[S]``; may have a gradient.
        offsets: Where the runs of each row begin, and where the last ones end. ``[N + 1]``, int64.
        store: Has the entries.
    """

    rows: Tensor
    begins: Tensor
    ends: Tensor
    relations: Tensor
    steps: Tensor
    snapshots: Tensor
    weights: Tensor
    offsets: Tensor
    store: Store

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def entries(self) -> Entries:
        """Look up all entries."""
        dtype = whole_numbers(self.store.n_places)
        numbers, places = expand_ranges(self.begins, self.ends, dtype=dtype)
        return Entries(numbers, *self.store.read(places, numbers, self))

    def between(self, begin: int, end: int) -> "ScoreRuns":
        """Consecutive runs; their rows keep their numbers, and ``offsets`` mean nothing.

        Args:
            begin: Number of the first run.
            end: The one after the last.
        """
        return self._map(lambda column: column[begin:end])

    def select(self, rows: slice | Tensor) -> "ScoreRuns":
        """The runs of some rows, which count anew from 0."""
        begins, ends = self.offsets[:-1][rows], self.offsets[1:][rows]
        row, run = expand_ranges(begins, ends)
        offsets = torch.cat([begins.new_zeros(1), (ends - begins).cumsum(0)])
        chosen = self._map(lambda column: column.index_select(0, run))
        return replace(chosen, rows=row, offsets=offsets)

    def with_weights(self, weights: Tensor) -> "ScoreRuns":
        """The same runs with other weights. Shape ``[S]``."""
        return replace(self, weights=weights)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "ScoreRuns":
        """The same after one change of all columns that have an entry a run."""
        return ScoreRuns(
            rows=change(self.rows),
            begins=change(self.begins),
            ends=change(self.ends),
            relations=change(self.relations),
            steps=change(self.steps),
            snapshots=change(self.snapshots),
            weights=change(self.weights),
            offsets=self.offsets,
            store=self.store,
        )


def runs_by_row(  # noqa: PLR0913  # the columns
    rows: Tensor,
    begins: Tensor,
    ends: Tensor,
    *,
    relations: Tensor,
    steps: Tensor,
    snapshots: Tensor,
    weights: Tensor,
    n_rows: int,
    store: Store,
) -> ScoreRuns:
    """Runs whose rows do not fall, without the empty ones; see :class:`ScoreRuns`."""
    kept = (begins < ends).nonzero()[:, 0]
    rows = rows[kept]
    counts = torch.bincount(rows, minlength=n_rows)
    return ScoreRuns(
        rows=rows,
        begins=begins[kept],
        ends=ends[kept],
        relations=relations[kept],
        steps=steps[kept],
        snapshots=snapshots[kept],
        weights=weights[kept],
        offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        store=store,
    )


class SparseScores(NamedTuple):
    """What is added to some scores; a pair of a row and an item may have several entries.

    Attributes:
        parts: Runs of several stores, of the same rows; at least one.
    """

    parts: tuple[ScoreRuns, ...]

    @property
    def n_rows(self) -> int:
        """N."""
        return self.parts[0].n_rows

    def select(self, rows: slice | Tensor) -> "SparseScores":
        """The entries of some rows, which count anew from 0."""
        return SparseScores(tuple(part.select(rows) for part in self.parts))

    def add_to_columns(self, scores: Tensor, items: Tensor, *, ascending: bool) -> Tensor:
        """Add the entries to the scores of the same items of all rows.

        Args:
            scores: Changed where they are of the weights' precision. Shape ``[N, K]``.
            items: Shape ``[K]``, int64.
            ascending: Whether each is above the one before it.

        Returns:
            With the gradient of the weights. Shape ``[N, K]``.
        """
        if not ascending:
            items, column = torch.unique(items, return_inverse=True)
            added = scores.new_zeros(len(scores), len(items), dtype=self.parts[0].weights.dtype)
            return scores + self.add_to_columns(added, items, ascending=True)[:, column]
        # A sum of many small numbers needs their precision, whatever that of the products is.
        total = scores.to(self.parts[0].weights.dtype).reshape(-1)
        for part in self.parts:
            numbers, own, values = part.entries()
            place, inside = _places(items, own)
            values = values if inside is None else values.mul_(inside)
            values = values * part.weights.index_select(0, numbers)
            first_cells = (part.rows * len(items)).to(whole_numbers(total.numel()))
            cells = first_cells.index_select(0, numbers).add_(place)
            total = total.scatter_add_(0, cells.long(), values)
        return total.view(scores.shape)

    def by_relation(self, items: Tensor, n_relations: int) -> Tensor:
        """What each relation adds to the scores of each row's own items.

        Args:
            items: Shape ``[N, C]``, int64.
            n_relations: R.

        Returns:
            With the gradient of the weights. Shape ``[N, C, R]``.
        """
        rows = torch.arange(len(items), device=items.device)[:, None]
        wanted, place = torch.unique(rows * _STRIDE + items, return_inverse=True)
        totals = self.parts[0].weights.new_zeros(len(wanted) * n_relations)
        for part in self.parts:
            numbers, own, values = part.entries()
            rows_of, relations = (
                column.index_select(0, numbers) for column in (part.rows, part.relations)
            )
            found, inside = _places(wanted, rows_of * _STRIDE + own)
            values = values * part.weights.index_select(0, numbers)
            values = values if inside is None else values * inside
            totals = totals.scatter_add(0, found * n_relations + relations, values)
        return totals.view(-1, n_relations)[place]

    def on_own(self, items: Tensor) -> Tensor:
        """What is added to the scores of each row's own items. Shape ``[N, C]``."""
        alike = (replace(part, relations=torch.zeros_like(part.relations)) for part in self.parts)
        return SparseScores(tuple(alike)).by_relation(items, 1)[..., 0]


def _places(known: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
    """Where numbers stand among others, which rise, and whether they do: None where all do.

    Shape ``[E]`` each.
    """
    first, last = (int(known[0]), int(known[-1])) if len(known) else (0, 0)
    if last - first + 1 == len(known):  # all that lie between: nothing to search
        if len(wanted):
            lowest, highest = (int(value) for value in wanted.aminmax())
            if first <= lowest and highest <= last:
                return (wanted - first if first else wanted), None
        place = wanted.long() - first
        inside = (place >= 0) & (place < len(known))
        return place.clamp(0, len(known) - 1), inside
    place = torch.searchsorted(known, wanted.to(known.dtype)).clamp(max=len(known) - 1)
    return place, known.index_select(0, place) == wanted


class AddedScores:
    """Adds entries to blocks of scores, a block of rows at a time, and gives their gradient.

    Args:
        sparse: Of all rows; None for none.
        weights: The weights of the runs of each part, in the precision of the blocks.
        step: Rows of a block.
        width: Columns of a block.
        first: Item of the first column.
    """

    def __init__(
        self,
        sparse: SparseScores | None,
        weights: Sequence[Tensor],
        *,
        step: int,
        width: int,
        first: int = 0,
    ) -> None:
        self.gradients = tuple(torch.zeros_like(values) for values in weights)
        self._step, self._width, self._first = step, width, first
        self._parts: list[tuple[ScoreRuns, list[int]]] = []
        for part, values in zip(() if sparse is None else sparse.parts, weights, strict=True):
            ends = [*part.offsets[::step].tolist(), len(part.rows)]
            self._parts.append((part.with_weights(values), ends))
        self._block: list[tuple[Tensor, Entries, Tensor]] = []

    def add_to(self, scores: Tensor, begin: int) -> None:
        """Add the entries of the rows from a number on to their scores, in place."""
        self._block, number = [], begin // self._step
        for (part, ends), gradient in zip(self._parts, self.gradients, strict=True):
            runs = part.between(ends[number], ends[number + 1])
            entries = runs.entries()
            first_cells = (runs.rows - begin) * self._width - self._first
            cells = first_cells.index_select(0, entries.numbers) + entries.items.long()
            values = runs.weights.index_select(0, entries.numbers) * entries.values
            scores.view(-1).scatter_add_(0, cells, values)
            own = gradient[ends[number] : ends[number + 1]]
            self._block.append((own, entries, cells))

    def keep_gradient(self, error: Tensor) -> None:
        """Keep what the gradients of the weights of these rows are."""
        for gradient, entries, cells in self._block:
            of_entries = error.view(-1).index_select(0, cells) * entries.values
            gradient.scatter_add_(0, entries.numbers, of_entries)
