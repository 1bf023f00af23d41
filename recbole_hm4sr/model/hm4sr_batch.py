"""What HM4SR needs to know of a batch before its step, made on the CPU and sent to the device once.

Lengths, buckets, distinct items and targets have shapes that depend on values. Asked of a GPU, each
makes the host wait for all that was started before.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.sequence_loader import TARGET_LIST
from recbole_hm4sr.layers.losses import PlaceholderPlan, plan_placeholders
from recbole_hm4sr.layers.packing import PackedBatch, build_packing
from recbole_hm4sr.layers.seen import seen_items
from recbole_hm4sr.layers.softmax import HiddenPairs

Array = np.ndarray[Any, Any]


class ShownItems(NamedTuple):
    """The items that the tokens of a batch show, each once.

    Attributes:
        items: Ascending. Shape ``[N]``, int64.
        of_token: Place in ``items`` of each token's item. Shape ``[T]``, int64.
        counts: Tokens that show each. Shape ``[N]``, int64.
    """

    items: Tensor
    of_token: Tensor
    counts: Tensor


class HM4SRBatch(NamedTuple):
    """A batch as HM4SR reads it.

    Attributes:
        packed: Tokens, and targets in training.
        shown: The items of the tokens.
        seen: Items that are no candidates of a target; None if every item is one.
        placeholders: Which tokens may become placeholders; None if none may.
        wanted: Items of tokens and targets, ascending, on the host; None in evaluation. Shape
            ``[K]``, int64.
    """

    packed: PackedBatch
    shown: ShownItems
    seen: HiddenPairs | None = None
    placeholders: PlaceholderPlan | None = None
    wanted: Array | None = None


@dataclass(frozen=True)
class HM4SRReader:
    """Reads a batch of RecBole. It holds no tensor, so that a loader's workers can have it.

    Attributes:
        item_list: Name of the items' column.
        length: Name of the lengths' column.
        time_list: Name of the times' column, in seconds since the epoch.
        target: Name of the targets' column.
        every_position: Whether training reads the column ``target_list`` in its place: a target a
            position, 0 where none is trained.
        excludes_seen: Whether the items before a target are no candidates of it.
        placeholder_ratio: Share of a sequence that becomes placeholders; None for no such loss.
    """

    item_list: str
    length: str
    time_list: str
    target: str
    every_position: bool
    excludes_seen: bool
    placeholder_ratio: float | None

    def __call__(self, interaction: Interaction, *, train: bool) -> HM4SRBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU.

        Args:
            interaction: A batch of RecBole.
            train: Whether its targets are read.
        """
        items = interaction[self.item_list].cpu()
        packing = build_packing(interaction[self.length].cpu(), items.shape[1])
        tokens = packing.pack(items)
        shown = ShownItems(*torch.unique(tokens, return_inverse=True, return_counts=True))
        times = packing.pack(interaction[self.time_list].cpu())
        if not train:
            return HM4SRBatch(PackedBatch(tokens, times, packing, None, None), shown)
        read_at = None
        if self.every_position:
            following = packing.pack(interaction[TARGET_LIST].cpu())
            read_at = following.nonzero().squeeze(1)
            targets = following.index_select(0, read_at)
        else:
            targets = interaction[self.target].cpu()
        seen = placeholders = None
        if self.excludes_seen:
            places = packing.last if read_at is None else read_at
            seen = seen_items(packing, tokens, places, targets)
        if self.placeholder_ratio is not None:
            placeholders = plan_placeholders(
                packing, self.placeholder_ratio, every_prefix=self.every_position
            )
        return HM4SRBatch(
            packed=PackedBatch(tokens, times, packing, read_at, targets),
            shown=shown,
            seen=seen,
            placeholders=placeholders,
            wanted=np.union1d(shown.items.numpy(), targets.numpy()),
        )
