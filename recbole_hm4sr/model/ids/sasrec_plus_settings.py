"""Settings of SASRec+. The values stand in ``properties/model/SASRecPlus.yaml``."""

import dataclasses

from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class SASRecPlusSettings(TransformerSettings, PackedTraining):
    """Settings of SASRec+: those of its encoder and of its training."""

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        return TransformerSettings.problems(self) + PackedTraining.problems(self)
