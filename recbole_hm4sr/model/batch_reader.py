"""Arrangement of batches: from RecBole's columns to packed tokens and targets."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.seen import FIRST_POSITION, SeenItems
from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import DistinctItems, PackedBatch
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.seen import pairs_of_rows


@dataclass(frozen=True)
class BatchReader:
    """Arranges a batch of RecBole, on the CPU, where a loader's workers do it.

    Attributes:
        item_list: Name of the items' column.
        length: Name of the lengths' column.
        time_list: Name of the times' column.
        target: Name of the targets' column.
        every_position: Whether training reads the column ``target_list`` instead: a target a
            position, 0 where none is trained.
        timestamp_unit: Unit of the times: ``s`` or ``ms``.
        seen_items: The items that each user has seen before a target, where those are no candidates
            of it; else None.
    """

    item_list: str
    length: str
    time_list: str
    target: str
    every_position: bool
    timestamp_unit: str
    seen_items: SeenItems | None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU.

        Args:
            interaction: A batch of RecBole.
            train: Whether its targets are read.
        """
        items = interaction[self.item_list].cpu()
        packing = build_packing(interaction[self.length].cpu(), items.shape[1])
        tokens = packing.pack(items)
        batch = PackedBatch(
            items=tokens,
            times=packing.pack(
                whole_seconds(interaction[self.time_list].cpu(), self.timestamp_unit)
            ),
            packing=packing,
            distinct=DistinctItems(*torch.unique(tokens, return_inverse=True, return_counts=True)),
        )
        return self._with_targets(batch, interaction) if train else batch

    def _with_targets(self, batch: PackedBatch, interaction: Interaction) -> PackedBatch:
        packing, read_at, seen = batch.packing, None, None
        if self.every_position:
            following = packing.pack(interaction[TARGET_LIST].cpu())
            read_at = following.nonzero().squeeze(1)
            targets = following.index_select(0, read_at)
        else:
            targets = interaction[self.target].cpu()
        if self.seen_items is not None:
            tokens = packing.last if read_at is None else read_at
            firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[tokens]]
            rows, items = self.seen_items.before(firsts + packing.position[tokens] + 1)
            seen = pairs_of_rows(torch.stack([rows, items], dim=1), len(tokens))
        distinct = cast(DistinctItems, batch.distinct).items
        return batch.replace(
            read_at=read_at,
            targets=targets,
            seen=seen,
            wanted=np.union1d(distinct.numpy(), targets.numpy()),
        )
