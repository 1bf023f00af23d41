"""Training samples with the same target: what a contrastive loss takes for one intention."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_hm4sr.data.histories import Histories, cut_windows


@dataclass(frozen=True)
class SameTargets:
    """The samples of a split by their target items.

    Attributes:
        histories: Flat histories.
        item_field: Name of the item column.
        time_field: Name of the time column.
        order: Positions of the targets, by item, then by position. Shape ``[S]``, int64.
        begins: Where the samples of each item begin in ``order``, and where the last ones end.
            Shape ``[I + 1]``, int64.
        number: Index in ``order`` of the target at each position; 0 where there is no sample. Shape
            ``[N]``, int64.
        max_length: L.
    """

    histories: Histories
    item_field: str
    time_field: str
    order: Tensor
    begins: Tensor
    number: Tensor
    max_length: int

    def partners(self, positions: Tensor, draws: Tensor) -> Tensor:
        """Another sample with the target of each; the sample itself where there is no other.

        Args:
            positions: Of the targets of some samples. Shape ``[B]``, int64.
            draws: Uniform in [0, 1): which of the others it is. Shape ``[B]``, float64.

        Returns:
            Positions of the targets. Shape ``[B]``, int64.
        """
        items = self.histories.columns[self.item_field][positions]
        begins, numbers = self.begins[items], self.number[positions]
        n_others = self.begins[items + 1] - begins - 1
        drawn = begins + (draws * n_others).long().clamp(max=(n_others - 1).clamp(min=0))
        drawn = drawn + (drawn >= numbers).long()  # the sample itself is left out
        return self.order[torch.where(n_others > 0, drawn, numbers)]

    def windows(self, positions: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The histories of the :meth:`partners`.

        Returns:
            Items and times, ``[B, L]``, padded with 0 on the right, and lengths, ``[B]``; int64.
        """
        names = {self.item_field: "items", self.time_field: "times"}
        targets = self.partners(positions, draws)
        windows, lengths = cut_windows(self.histories, targets, names, max_length=self.max_length)
        return windows["items"], windows["times"], lengths


def find_same_targets(
    histories: Histories, targets: Tensor, item_field: str, time_field: str, max_length: int
) -> SameTargets:
    """Sort the samples of a split by their targets.

    Args:
        histories: Flat histories.
        targets: Positions of the split's targets. Shape ``[S]``, int64.
        item_field: Name of the item column.
        time_field: Name of the time column.
        max_length: L.
    """
    items = histories.columns[item_field]
    ascending = targets.sort().values
    order = ascending[items[ascending].argsort(stable=True)]
    n_items = int(items.max()) + 1 if len(items) else 1
    counts = torch.bincount(items[order], minlength=n_items)
    begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    number = torch.zeros(len(histories), dtype=torch.int64)
    number[order] = torch.arange(len(order))
    return SameTargets(histories, item_field, time_field, order, begins, number, max_length)
