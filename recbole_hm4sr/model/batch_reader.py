"""Arrangement of batches: from RecBole's columns to packed tokens and targets."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.seen import FIRST_POSITION, SeenItems
from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import DistinctItems, PackedBatch, Requests
from recbole_hm4sr.layers.packing import build_packing, with_rounded
from recbole_hm4sr.layers.seen import pairs_of_rows, without
from recbole_hm4sr.model.requests import RequestReader, VisitReader


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
        time: Name of the column of each row's own time.
        requests: Reads what is known of each request; None where nothing asks for it.
        visits: Reads several targets of each row; None where each has one.
        round_tokens: What the tokens of a training step are rounded up to a multiple of, for the
            encoders; 0 for no rounding.
    """

    item_list: str
    length: str
    time_list: str
    target: str
    every_position: bool
    timestamp_unit: str
    seen_items: SeenItems | None
    time: str = ""
    requests: RequestReader | None = None
    visits: VisitReader | None = None
    round_tokens: int = 0

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU.

        Args:
            interaction: A batch of RecBole.
            train: Whether its targets are read.
        """
        items = interaction[self.item_list].cpu()
        packing = build_packing(interaction[self.length].cpu(), items.shape[1])
        if train and self.round_tokens:
            packing = with_rounded(packing, self.round_tokens)
        tokens = packing.pack(items)
        batch = PackedBatch(
            items=tokens,
            times=packing.pack(
                whole_seconds(interaction[self.time_list].cpu(), self.timestamp_unit)
            ),
            packing=packing,
            distinct=DistinctItems(*torch.unique(tokens, return_inverse=True, return_counts=True)),
        )
        if train:
            batch = self._with_targets(batch, interaction)
        if self.requests is not None and batch.requests is None:
            batch = batch.replace(requests=self._of_windows(interaction))
        return batch

    def _of_windows(self, interaction: Interaction) -> Requests:
        assert self.requests is not None
        own = interaction[self.time].cpu() if self.time in interaction else None
        items, times, lengths = (
            interaction[name].cpu() for name in (self.item_list, self.time_list, self.length)
        )
        return self.requests.of_windows(items, times, lengths, own)

    def _with_targets(self, batch: PackedBatch, interaction: Interaction) -> PackedBatch:
        packing, read_at = batch.packing, None
        if self.every_position:
            following = packing.pack(interaction[TARGET_LIST].cpu())
            read_at = following.nonzero().squeeze(1)
            targets = following.index_select(0, read_at)
        else:
            targets = interaction[self.target].cpu()
        batch = batch.replace(read_at=read_at, targets=targets)
        if FIRST_POSITION in interaction:
            tokens = packing.last if read_at is None else read_at
            firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[tokens]]
            batch = self._from_histories(batch, firsts + packing.position[tokens] + 1)
        distinct = cast(DistinctItems, batch.distinct).items
        all_targets = targets if batch.shares is None else batch.shares.pairs[:, 1]
        return batch.replace(wanted=np.union1d(distinct.numpy(), all_targets.numpy()))

    def _from_histories(self, batch: PackedBatch, positions: Tensor) -> PackedBatch:
        """What whole histories say of targets at positions, ``[N]``: more than a window shows."""
        n_rows, seen, shares, requests = len(positions), None, None, None
        if self.visits is not None:
            shares = self.visits.at(positions)
        if self.seen_items is not None:
            pairs = torch.stack(self.seen_items.before(positions), dim=1)
            if shares is not None:
                pairs = without(pairs, shares.pairs)
            seen = pairs_of_rows(pairs, n_rows)
        if self.requests is not None and self.every_position:
            requests = self.requests.at(positions)
        return batch.replace(seen=seen, shares=shares, requests=requests)
