"""Settings of SASRec+."""

from recbole_hm4sr.model.packed_settings import PackedTraining, ShapeSettings, TransformerSettings


class SASRecPlusSettings(TransformerSettings, ShapeSettings, PackedTraining):
    """Settings of SASRec+: those of its encoder and of its training."""
