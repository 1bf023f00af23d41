"""RecBole's models without most of the padding: same loss and gradient, a fraction of the work.

RecBole pads every history to ``MAX_ITEM_LIST_LENGTH``: where a batch has 9 interactions a history
on average and 50 positions, four fifths of a step is spent on padding. Here the samples of a batch
are taken in groups of similar length, each cut to the longest of its own, and the losses of the
groups are weighted to the loss of the batch. Only rounding differs, and dropout draws its numbers
in another order.
"""

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.settings import RunSettings, read_settings

# Models whose loss is a mean over samples (BERT4Rec: over masked items), each of them independent
# of the others and of padding. Not so: Caser, FEARec and LightSANs, which see how long the padding
# is; CORE, which draws one dropout of the catalogue for the whole batch.
MODELS = frozenset({"BERT4Rec", "FDSA", "GRU4Rec", "NARM", "S3Rec", "SASRec"})

_N_GROUPS = 4  # of at most 1/8, 1/4, 1/2 and all of the positions


def trimmed_loss(model: Any, config: Any) -> Callable[[Interaction], Tensor]:
    """The ``calculate_loss`` of a model of RecBole, computed without most of the padding.

    Args:
        model: Any recommender.
        config: RecBole ``Config``.

    Returns:
        A function of a batch; the model's own ``calculate_loss`` if the model is none of
        :data:`MODELS`, or ``trim_padding`` is false.
    """
    name = type(model).__name__
    is_recboles = type(model).__module__.startswith("recbole.model.")
    pretrains = getattr(model, "train_stage", "finetune") == "pretrain"
    allowed = read_settings(config, RunSettings).trim_padding
    if not allowed or not is_recboles or name not in MODELS or pretrains:
        own: Callable[[Interaction], Tensor] = model.calculate_loss
        return own
    masked = [model.POS_ITEMS, model.NEG_ITEMS, model.MASK_INDEX] if name == "BERT4Rec" else []

    def loss_of(batch: Interaction) -> Tensor:
        if masked:
            weights = (batch[model.MASK_INDEX] > 0).sum(dim=1)
        else:
            weights = torch.ones(len(batch), dtype=torch.long, device=batch[model.ITEM_SEQ].device)
        losses = []
        for rows in groups_of_length(batch[model.ITEM_SEQ_LEN], batch[model.ITEM_SEQ].size(1)):
            weight = weights[rows].sum()
            if weight:  # without a masked item BERT4Rec would divide by zero
                group = _trim(batch, rows, model.ITEM_SEQ_LEN, config["LIST_SUFFIX"], masked)
                losses.append(model.calculate_loss(group) * (weight / weights.sum()))
        return torch.stack(losses).sum() if losses else torch.zeros((), requires_grad=True)

    return loss_of


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


def _trim(
    batch: Interaction, rows: Tensor, length_field: str, list_suffix: str, masked: list[str]
) -> Interaction:
    """Some rows of a batch, with the lists cut to the longest of them."""
    columns = {name: batch[name][rows] for name in batch.columns}
    longest = int(columns[length_field].max())
    for name, column in columns.items():
        if name.endswith(list_suffix):
            columns[name] = column[:, :longest].contiguous()  # RecBole views them flat
    if masked:  # the slots of masked items are padded on the left
        most = int((columns[masked[-1]] > 0).sum(dim=1).max())
        for name in masked:
            columns[name] = columns[name][:, -most:].contiguous()
    return Interaction(columns)
