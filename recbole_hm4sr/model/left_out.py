"""Histories with one of their items left out: what a score loses without it."""

from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.model.capabilities import dense_scores


class HistoryItems(NamedTuple):
    """The items of the histories of a batch, each once a history.

    Attributes:
        rows: Row of each, not falling. Shape ``[Q]``, int64.
        items: Shape ``[Q]``, int64.
        of_position: Which of them each interaction of a history has, oldest first; -1 in the
            padding. Shape ``[B, L]``, int64.
        begins: Where those of each row begin, and Q. Shape ``[B + 1]``, int64.
    """

    rows: Tensor
    items: Tensor
    of_position: Tensor
    begins: Tensor

    def best(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The largest value of each row's items, and its item.

        Args:
            values: Shape ``[Q, C]``.

        Returns:
            Shape ``[B, C]`` each; of equal values the item with the lowest number.
        """
        counts = self.begins.diff()
        steps = torch.arange(len(self.rows), device=values.device) - self.begins[self.rows]
        shape = len(counts), int(counts.max()), values.shape[1]
        table = values.new_full(shape, -torch.inf)
        table[self.rows, steps] = values
        largest = table.amax(dim=1)
        first = (table == largest[:, None]).to(torch.uint8).argmax(dim=1)
        return largest, self.items[self.begins[:-1, None] + first]

    def sum_steps(self, parts: Tensor, lengths: Tensor) -> Tensor:
        """Parts of the newest interactions, summed over those with the same item.

        Args:
            parts: Newest interaction first. Shape ``[B, C, K]``.
            lengths: Of the histories. Shape ``[B]``, int64.

        Returns:
            Shape ``[Q, C]``.
        """
        steps = torch.arange(parts.shape[2], device=parts.device)
        positions = lengths[:, None] - 1 - steps  # [B, K]
        is_there = positions >= 0
        pairs = self.of_position.gather(1, positions.clamp(min=0))[is_there]
        sums = parts.new_zeros(len(self.rows), parts.shape[1])
        return sums.index_add_(0, pairs, parts.transpose(1, 2)[is_there])


def history_items(histories: Tensor, lengths: Tensor) -> HistoryItems:
    """The items of histories.

    Args:
        histories: Items, oldest first. Shape ``[B, L]``, int64.
        lengths: At least 1. Shape ``[B]``, int64.
    """
    is_there = torch.arange(histories.shape[1], device=histories.device) < lengths[:, None]
    stride = int(histories.max()) + 1
    rows = is_there.nonzero()[:, 0]
    keys, pair = torch.unique(rows * stride + histories[is_there], return_inverse=True)
    of_position = torch.full_like(histories, -1)
    of_position[is_there] = pair
    rows = keys // stride
    numbers = torch.arange(len(histories) + 1, device=histories.device)
    return HistoryItems(rows, keys % stride, of_position, torch.searchsorted(rows, numbers))


def losses_without(
    model: Any, interaction: Interaction, items: Tensor, of_history: HistoryItems, *, n_rows: int
) -> Tensor | None:
    """How much the dense scores of some items fall without each item of a history.

    All interactions with an item are left out together. A history of one item has nothing left to
    score; without it no item is above another, so what is lost is how far the score is above that
    of the last of the items.

    Args:
        model: At its best epoch.
        interaction: A batch on the model's device.
        items: Items of each row. The last is the one that others are compared with. Shape
            ``[B, C]``, int64.
        of_history: Of the batch.
        n_rows: Histories that are scored at once.

    Returns:
        Shape ``[Q, C]``; None for a model whose dense scores do not depend on the history.
    """
    columns = dict(interaction.interaction)
    whole = dense_scores(model, Interaction(columns), items)
    if whole is None:
        return None
    rows = of_history.rows
    losses = (whole - whole[:, -1:])[rows]
    several = (of_history.begins.diff()[rows] > 1).nonzero()[:, 0]
    for part in several.split(n_rows):
        left = _without(model, columns, rows[part], of_history.items[part])
        scores = dense_scores(model, left, items[rows[part]])
        assert scores is not None
        losses[part] = whole[rows[part]] - scores
    return losses


def _without(model: Any, columns: dict[str, Tensor], rows: Tensor, items: Tensor) -> Interaction:
    """Some rows of a batch, each without one item, moved up to leave no gap.

    Args:
        model: Knows the names of the columns.
        columns: Of the batch.
        rows: Shape ``[Q]``, int64.
        items: Shape ``[Q]``, int64.
    """
    suffix = model.ITEM_SEQ.removeprefix(model.ITEM_ID)
    histories, lengths = columns[model.ITEM_SEQ][rows], columns[model.ITEM_SEQ_LEN][rows]
    steps = torch.arange(histories.shape[1], device=rows.device)
    stays = (steps < lengths[:, None]) & (histories != items[:, None])
    kept = stays.sum(dim=1)
    order = (~stays).to(torch.uint8).argsort(dim=1, stable=True)
    here = torch.arange(len(rows), device=rows.device)[:, None]
    changed = {}
    for name, values in columns.items():
        changed[name] = own = values[rows]
        if name.endswith(suffix) and own.ndim > 1:
            changed[name] = own[here, order]
            changed[name][steps >= kept[:, None]] = 0
    return Interaction({**changed, model.ITEM_SEQ_LEN: kept})
