"""Settings of SASRec+."""

from typing import ClassVar

from recbole_hm4sr.model.packed_settings import PackedTraining, ShapeSettings, TransformerSettings


class SASRecPlusSettings(TransformerSettings, ShapeSettings, PackedTraining):
    """Settings of SASRec+: those of its encoder and of its training."""

    shares_items: ClassVar[bool] = True
