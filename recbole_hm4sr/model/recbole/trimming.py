"""RecBole's models without most of the padding: same loss, gradient and scores, far less work.

RecBole pads every history to ``MAX_ITEM_LIST_LENGTH``: where a batch has 9 interactions a history
on average and 50 positions, four fifths of a step is spent on padding. Here the samples of a batch
are taken in groups of similar length (BERT4Rec: and of as many masked items), each cut to the
longest of its own, and the losses of the groups are weighted to the loss of the batch. Only
rounding differs, and dropout draws its numbers in another order.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_hm4sr.config.settings import RunSettings, read_settings

# Models whose loss is a mean over samples (BERT4Rec: over masked items), each of them independent
# of the others and of padding. Not so: Caser, FEARec and LightSANs, which see how long the padding
# is; CORE, which draws one dropout of the catalogue for the whole batch.
MODELS = frozenset({"BERT4Rec", "FDSA", "GRU4Rec", "NARM", "S3Rec", "SASRec"})

# Models whose scores are inner products of item embeddings with a vector that ONNX can compute.
_WITH_TOWER = frozenset({"SASRec"})

_N_GROUPS = 4  # of at most 1/8, 1/4, 1/2 and all of the positions


@cache
def trimmed_class(model_class: Any) -> Any:
    """A subclass of a model of RecBole that leaves most of the padding out (``trim_padding``).

    Args:
        model_class: A sequential model of RecBole.

    Returns:
        A class of the same name; ``model_class`` itself if it is none of :data:`MODELS`.
    """
    name = model_class.__name__
    if name not in MODELS:
        return model_class
    return type(name, (_TrimmedPadding, model_class), {"__doc__": model_class.__doc__})


class _TrimmedPadding:
    """Comes before a model of RecBole among the bases of a class."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)  # type: ignore[call-arg]
        self._list_suffix = config["LIST_SUFFIX"]
        pretrains = getattr(self, "train_stage", "finetune") == "pretrain"
        self._trims = read_settings(config, RunSettings).trim_padding and not pretrains

    def user_tower(self: Any) -> nn.Module | None:
        """User vectors from padded histories, where the model's own forward gives them."""
        return PaddedTower(self) if type(self).__name__ in _WITH_TOWER else None

    def calculate_loss(self: Any, interaction: Interaction) -> Tensor:
        """The model's loss. Shape ``[]``."""
        own_loss = super().calculate_loss  # type: ignore[misc]
        if not self._trims:
            loss: Tensor = own_loss(interaction)
            return loss
        losses, weights = [], []
        n_masks = self._n_masks(interaction)
        for rows, group in self._groups(interaction, n_masks):
            weights.append(len(rows) if n_masks is None else int(n_masks[rows].sum()))
            losses.append(own_loss(group) * weights[-1])
        if not losses:  # no masked item: RecBole's BERT4Rec would divide by zero
            return torch.zeros((), device=interaction[self.ITEM_SEQ].device, requires_grad=True)
        return torch.stack(losses).sum() / sum(weights)

    def full_sort_predict(self: Any, interaction: Interaction) -> Tensor:
        """Scores of all items. Shape ``[B, I]``."""
        own_scores = super().full_sort_predict  # type: ignore[misc]
        if not self._trims:
            whole: Tensor = own_scores(interaction)
            return whole
        scores = torch.empty(0)
        for rows, group in self._groups(interaction):
            part = own_scores(group).view(len(rows), -1)
            if not len(scores):
                scores = part.new_empty(len(interaction), part.size(1))
            scores[rows] = part
        return scores

    def _groups(
        self: Any, interaction: Interaction, n_masks: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Interaction]]:
        lengths, max_length = interaction[self.ITEM_SEQ_LEN], interaction[self.ITEM_SEQ].size(1)
        for rows in groups_of_length(lengths, max_length):
            for part in [rows] if n_masks is None else groups_of_masks(rows, n_masks):
                yield part, self._trim(interaction, part)

    def _n_masks(self: Any, interaction: Interaction) -> Tensor | None:
        """Items of each history that BERT4Rec predicts; None if there is no such list."""
        if not hasattr(self, "MASK_INDEX") or self.MASK_INDEX not in interaction.columns:
            return None
        n_masks: Tensor = (interaction[self.MASK_INDEX] > 0).sum(dim=1)
        return n_masks

    def _trim(self: Any, interaction: Interaction, rows: Tensor) -> Interaction:
        """Some rows of a batch, with the lists cut to the longest of them."""
        columns = {name: interaction[name][rows] for name in interaction.columns}
        longest = int(columns[self.ITEM_SEQ_LEN].max())
        for name, column in columns.items():
            if name.endswith(self._list_suffix):
                columns[name] = column[:, :longest].contiguous()  # RecBole views them flat
        n_masks = self._n_masks(Interaction(columns))
        if n_masks is not None:  # padded on the left; an item masked in place 0 has no loss
            most = int(n_masks.max())
            for name in (self.POS_ITEMS, self.NEG_ITEMS, self.MASK_INDEX):
                columns[name] = columns[name][:, -max(most, 1) :].contiguous()
        return Interaction(columns)


class PaddedTower(nn.Module):
    """User vectors of a model of RecBole that reads items and lengths.

    Args:
        model: At its best epoch.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Encode histories.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each history, at least 1. Shape ``[B]``, int64.

        Returns:
            Shape ``[B, D]``.
        """
        users: Tensor = self.model(item_seq, item_seq_len)
        return users


def groups_of_length(lengths: Tensor, max_length: int) -> list[Tensor]:
    """Rows of a batch by length: up to an eighth of the longest possible, a fourth, a half, all.

    Args:
        lengths: Of the histories. Shape ``[B]``, int64.
        max_length: Positions of the batch, L.

    Returns:
        Numbers of rows in ascending order, an int64 vector a group; no group is empty.
    """
    bounds = [max_length >> halvings for halvings in range(_N_GROUPS - 1, 0, -1)]
    group = torch.bucketize(lengths, torch.tensor(bounds, device=lengths.device))
    parts = [(group == number).nonzero().squeeze(1) for number in range(_N_GROUPS)]
    return [rows for rows in parts if len(rows)]


def groups_of_masks(rows: Tensor, n_masks: Tensor) -> list[Tensor]:
    """Rows with one masked item, with two, with more; those without one have no loss.

    Args:
        rows: Numbers of rows of a batch. Shape ``[G]``, int64.
        n_masks: Masked items of every row of the batch. Shape ``[B]``, int64.

    Returns:
        Numbers of rows, an int64 vector a group; no group is empty.
    """
    own = n_masks[rows]
    parts = [rows[own == 1], rows[own == 2], rows[own > 2]]
    return [part for part in parts if len(part)]
