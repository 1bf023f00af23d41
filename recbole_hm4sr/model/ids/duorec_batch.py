"""Batches of DuoRec: each sample again, and another one with the same target."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.same_targets import SameTargets
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import Array, DistinctItems, PackedBatch
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.model.batch_reader import BatchReader


@dataclass(frozen=True)
class DuoRecBatch(PackedBatch):
    """A batch with further sequences behind its own.

    The states that are read are those of the own rows, then those of each view, as many each.

    Attributes:
        views: Of ``again``, the own sequences once more, and ``partner``, one for each row.
    """

    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class DuoRecReader(BatchReader):
    """Arranges a batch of RecBole for DuoRec.

    Attributes:
        views: Of a training batch.
        partners: The samples with each target; None where only scores are read.
    """

    views: tuple[str, ...] = ()
    partners: SameTargets | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        if not train:
            return DuoRecBatch(**vars(batch))
        own = [interaction[name].cpu() for name in (self.item_list, self.time_list, self.length)]
        parts, reads = [own], [self._read_at(batch)]
        if "again" in self.views:
            parts.append(own)
            reads.append(reads[0] + len(batch.items))
        if "partner" in self.views:
            parts.append(list(self._partners(batch, interaction)))
        items, times, lengths = (torch.cat(columns) for columns in zip(*parts, strict=True))
        packing = build_packing(lengths, items.shape[1])
        if "partner" in self.views:
            reads.append(packing.last[-len(parts[-1][2]) :])
        tokens = packing.pack(items)
        distinct = DistinctItems(*torch.unique(tokens, return_inverse=True, return_counts=True))
        changed = batch.replace(
            items=tokens,
            times=packing.pack(whole_seconds(times, self.timestamp_unit)),
            packing=packing,
            # In prefix mode the last of every sequence are read: the own, again, the partners'.
            read_at=torch.cat(reads) if self.every_position else None,
            distinct=distinct,
            wanted=np.union1d(cast(Array, batch.wanted), distinct.items.numpy()),
        )
        return DuoRecBatch(**vars(changed), views=self.views)

    def _read_at(self, batch: PackedBatch) -> Tensor:
        return batch.packing.last if batch.read_at is None else batch.read_at

    def _partners(
        self, batch: PackedBatch, interaction: Interaction
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Items, times and lengths of another sample with the target of each row."""
        assert self.partners is not None
        tokens, packing = self._read_at(batch), batch.packing
        firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[tokens]]
        draws = torch.rand(len(tokens), dtype=torch.float64, device="cpu")
        return self.partners.windows(firsts + packing.position[tokens] + 1, draws)
