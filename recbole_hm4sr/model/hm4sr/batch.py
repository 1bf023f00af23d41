"""Batches of HM4SR: the tokens, and which of them may become placeholders."""

from dataclasses import dataclass
from typing import cast

from recbole.data.interaction import Interaction

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.losses import PlaceholderPlan, plan_placeholders
from recbole_hm4sr.layers.packing import Packing
from recbole_hm4sr.model.batch_reader import BatchReader


@dataclass(frozen=True)
class HM4SRBatch(PackedBatch):
    """A batch as HM4SR reads it.

    Attributes:
        placeholders: Which tokens may become placeholders; None if none may.
    """

    placeholders: PlaceholderPlan | None = None


@dataclass(frozen=True)
class HM4SRReader(BatchReader):
    """Arranges a batch of RecBole for HM4SR.

    Attributes:
        placeholder_ratio: Share of a sequence that becomes placeholders; None for no such loss.
    """

    placeholder_ratio: float | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        plan = None
        if train and self.placeholder_ratio is not None:
            packing = cast(Packing, batch.packing)
            ratio, nested = self.placeholder_ratio, self.every_position
            plan = plan_placeholders(packing, ratio, every_prefix=nested)
        return HM4SRBatch(**vars(batch), placeholders=plan)
