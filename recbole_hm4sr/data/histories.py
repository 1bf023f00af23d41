"""Columns of a log under RecBole's names, and the windows of them that a batch needs.

RecBole writes every prefix of every history into a padded matrix before training: memory grows
with interactions × L × columns. Here each column is kept once, in the order of the log, and a
window is cut when a loader asks for it: the same rows, at a memory linear in the interactions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.log import InteractionLog


@dataclass(frozen=True)
class Histories:
    """All interactions, user after user, oldest first.

    Attributes:
        columns: Column name to its values, users' included. Each of shape ``[N]``; sequence columns
            ``[N, F]``.
        starts: Position at which the history of each interaction's user begins. Shape ``[N]``,
            int64.
    """

    columns: Mapping[str, Tensor]
    starts: Tensor

    def __len__(self) -> int:
        return len(self.starts)


def histories_of(log: InteractionLog, columns: Mapping[str, Tensor]) -> Histories:
    """The columns of a log's interactions under the names that RecBole gives them.

    Args:
        log: The interactions.
        columns: Column name to its values in the order of the log; the arrays of the log, and any
            others. Each of shape ``[N]`` or ``[N, F]``.
    """
    return Histories(columns, torch.from_numpy(log.starts))


def cut_windows(
    histories: Histories, targets: Tensor, names: Mapping[str, str], *, max_length: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The most recent interactions before each target.

    Args:
        histories: Flat histories.
        targets: Positions of the targets. Shape ``[B]``, int64.
        names: Column name to the name of its window.
        max_length: L.

    Returns:
        Windows by name, each of shape ``[B, L]`` (``[B, L, F]`` of a sequence column) and of its
        column's dtype, oldest first, padded with 0 on the right; and their lengths, shape ``[B]``,
        int64.
    """
    starts = torch.maximum(histories.starts[targets], targets - max_length)
    lengths = targets - starts
    outside = torch.arange(max_length) >= lengths[:, None]  # [B, L]
    windows = {}
    for column, name in names.items():
        window = cut_rows(histories.columns[column], starts, max_length)
        # One value may have a shape of its own.
        windows[name] = window.masked_fill_(
            outside.view(*outside.shape, *(1,) * (window.ndim - 2)), 0
        )
    return windows, lengths


def cut_rows(values: Tensor, begins: Tensor, length: int) -> Tensor:
    """Consecutive values from each of several places on.

    Args:
        values: Shape ``[N]`` or ``[N, F]``.
        begins: Shape ``[B]``, int64.
        length: L.

    Returns:
        A new tensor of shape ``[B, L]`` or ``[B, L, F]``. Places after the last value hold any.
    """
    n_places = len(values) - length + 1
    if begins.numel() and int(begins.max()) < n_places:
        # Rows of a view whose rows overlap: copied whole, a third of the time of 51,200 places.
        view = values.as_strided(
            (n_places, length, *values.shape[1:]), (values.stride(0), *values.stride())
        )
        return view.index_select(0, begins)
    places = (begins[:, None] + torch.arange(length)).clamp_(max=len(values) - 1)
    return values[places]


@dataclass(frozen=True)
class WindowColumn:
    """The windows of one column, cut for the samples that are asked for.

    RecBole keeps such a column as a padded matrix; a model that reads single rows of it (FEARec
    does) finds them here.
    """

    histories: Histories
    targets: Tensor
    column: str
    max_length: int

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Any) -> Tensor:
        """Windows of the samples: ``[L]`` for one number, ``[B, L]`` for several."""
        targets = self.targets[index]
        windows, _ = cut_windows(
            self.histories,
            torch.atleast_1d(targets),
            {self.column: self.column},
            max_length=self.max_length,
        )
        return windows[self.column] if targets.ndim else windows[self.column][0]


class HistorySamples:
    """The samples of one split: stands where RecBole keeps a padded ``Interaction``.

    A sample is a position in the flat histories (its target). Columns are read through it, windows
    are cut from it, and RecBole's loaders can index and sort it.

    Args:
        histories: Flat histories, shared by all splits.
        targets: Positions of this split's targets. Shape ``[S]``, int64.
        length_field: Name under which the number of earlier interactions (at most L) is read.
        max_length: L.
        list_suffix: What RecBole appends to a column's name for its windows.
    """

    def __init__(
        self,
        histories: Histories,
        targets: Tensor,
        *,
        length_field: str,
        max_length: int,
        list_suffix: str = "_list",
    ) -> None:
        self.histories = histories
        self.targets = targets
        self._list_suffix = list_suffix
        self._length_field = length_field
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[str]:
        yield from self.histories.columns
        yield self._length_field

    def __contains__(self, name: str) -> bool:
        return name in self.histories.columns or name == self._length_field

    def __getitem__(self, index: Any) -> Any:
        """A column of the samples by name, or fewer samples by index."""
        if isinstance(index, str):
            if index == self._length_field:
                lengths = self.targets - self.histories.starts[self.targets]
                return lengths.clamp(max=self._max_length)
            if index not in self.histories.columns and index.endswith(self._list_suffix):
                column = index.removesuffix(self._list_suffix)
                return WindowColumn(self.histories, self.targets, column, self._max_length)
            return self.histories.columns[index][self.targets]
        if not isinstance(index, (slice, Tensor)):
            index = torch.as_tensor(np.asarray(index))
            index = index if index.dtype == torch.bool else index.long()
        return self.select(self.targets[index])

    def select(self, targets: Tensor) -> "HistorySamples":
        """The same histories with other targets."""
        return HistorySamples(
            self.histories,
            targets,
            length_field=self._length_field,
            max_length=self._max_length,
            list_suffix=self._list_suffix,
        )

    @property
    def columns(self) -> list[str]:
        """Names of the columns, as ``Interaction.columns`` has them."""
        return list(self)

    def sort(self, by: str, ascending: bool = True) -> None:
        """Sort the samples in place by a column; equal values keep their order if ascending."""
        order = np.argsort(self[by].numpy(), kind="stable")
        if not ascending:
            order = order[::-1].copy()
        self.targets = self.targets[torch.from_numpy(order)]
