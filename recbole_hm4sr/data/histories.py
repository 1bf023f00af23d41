"""Histories as flat arrays, and the windows of them that a batch needs.

RecBole writes every prefix of every history into a padded matrix before training: memory grows
with interactions × L × columns. Here each column is kept once, ordered by (user, time, file
order), and a window is cut when a loader asks for it: the same rows, at a memory linear in the
interactions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


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


def build_histories(
    columns: Mapping[str, Tensor], *, user_field: str, time_field: str
) -> Histories:
    """Order interactions by user, then time, then their order in the file.

    Args:
        columns: Column name to its values in file order. Each of shape ``[N]`` or ``[N, F]``.
        user_field: Name of the column of internal user ids.
        time_field: Name of the column of times, int64.

    Returns:
        The same interactions, ordered.
    """
    order = order_interactions(columns[user_field].numpy(), columns[time_field].numpy())
    ordered = {name: values[torch.from_numpy(order)] for name, values in columns.items()}
    return group_histories(ordered, user_field=user_field)


def order_interactions(users: Array, times: Array, *, shuffle_ties: int | None = None) -> Array:
    """The order of interactions by user, then time, then their order in the file.

    Args:
        users: Internal user ids. Shape ``[N]``, int64.
        times: Shape ``[N]``, int64.
        shuffle_ties: Seed of a random order in place of the file's; None keeps the file's.

    Returns:
        Positions in the given arrays. Shape ``[N]``, int64.
    """
    # np.lexsort is stable.
    if shuffle_ties is None:
        return np.lexsort((times, users))
    order = np.random.default_rng(shuffle_ties).permutation(len(users))
    return order[np.lexsort((times[order], users[order]))]


def group_histories(columns: Mapping[str, Tensor], *, user_field: str) -> Histories:
    """Histories of interactions that are in order already.

    Args:
        columns: Column name to its values, ordered by user, then time. Each of shape ``[N]`` or
            ``[N, F]``.
        user_field: Name of the column of internal user ids.
    """
    users = columns[user_field].numpy()
    firsts = np.flatnonzero(np.diff(users, prepend=-1))
    starts = np.repeat(firsts, np.diff(firsts, append=len(users)))
    return Histories(columns, torch.from_numpy(starts))


def sample_targets(histories: Histories) -> Tensor:
    """Every interaction that has a predecessor: the targets RecBole's augmentation makes.

    Returns:
        Positions in the flat arrays, ascending. Int64.
    """
    return torch.nonzero(torch.arange(len(histories)) > histories.starts).squeeze(1)


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


def leave_one_out(users: Tensor, *, n_held_out: int) -> tuple[Tensor, ...]:
    """Split samples so that each user's last ones are held out, one a part.

    Equals RecBole's ``leave_one_out``: a user with too few samples for all parts gives its last
    sample to the last part, and keeps at least one for training.

    Args:
        users: User of each sample, 0 or more, in the order of the samples; a user's samples may
            lie apart. Shape ``[S]``, int64.
        n_held_out: Parts to hold out; 1 or 2.

    Returns:
        ``n_held_out + 1`` index tensors into the samples, training first. Users come in the order
        of their first sample.
    """
    order = _by_first_appearance(users)
    grouped = users[order]
    last = torch.ones(len(grouped), dtype=torch.bool)
    last[:-1] = grouped[1:] != grouped[:-1]
    ends = torch.nonzero(last).squeeze(1)
    counts = torch.diff(ends, prepend=torch.tensor([-1]))
    held = torch.minimum(counts - 1, torch.tensor(n_held_out))
    parts = []
    train = torch.ones(len(grouped), dtype=torch.bool)
    for back in range(n_held_out, 0, -1):
        chosen = (ends - back + 1)[held >= back]
        train[chosen] = False
        parts.append(order[chosen])
    return (order[train], *parts)


def _by_first_appearance(users: Tensor) -> Tensor:
    """A stable order of samples that brings each user's together, users by their first sample."""
    values = users.numpy()
    first = np.empty(values.max(initial=0) + 1, dtype=np.int64)
    # Of several values for one place the last stays: the earliest, since they come backwards.
    first[values[::-1]] = np.arange(len(values))[::-1]
    return torch.from_numpy(np.argsort(first[values], kind="stable"))


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
    are cut from it, and RecBole's splitting code can index and sort it.

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
        if isinstance(index, range):
            index = slice(index.start, index.stop, index.step)
        elif not isinstance(index, (slice, Tensor)):
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

    def shuffle(self) -> None:
        """Shuffle the samples in place with torch's generator."""
        self.targets = self.targets[torch.randperm(len(self.targets))]
