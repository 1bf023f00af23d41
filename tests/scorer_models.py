"""Toy models whose scores are more than inner products, as another package would bring them."""

import torch
from scorers import DummyMemory, SoftmaxMix

from recbole_hm4sr.model.hm4sr.model import HM4SR
from recbole_hm4sr.model.ids.sasrec_plus import SASRecPlus


class MemoryRec(SASRecPlus):
    """Ids, and a memory of what follows the last two items."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scorer = DummyMemory(self.n_items)

    def encode(self, batch, catalogue):
        encoded = super().encode(batch, catalogue)
        tokens = batch.packing.last if batch.read_at is None else batch.read_at
        before = batch.items[(tokens - 1).clamp(min=0)]
        before = before.masked_fill(batch.packing.position[tokens] == 0, 0)
        last_items = torch.stack([batch.items[tokens], before], dim=1)  # [N, 2]
        return encoded._replace(users=encoded.users.with_side(last_items=last_items))


class MixRec(HM4SR):
    """Ids and modalities, each with a softmax of its own, mixed."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scorer = SoftmaxMix(len(self.streams))
