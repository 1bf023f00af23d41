"""Settings of Momento."""

from typing import ClassVar

from recbole_hm4sr.config.fields import Count, Dropout, Positive, Weight, setting
from recbole_hm4sr.model.packed_settings import LateSumSettings


class MomentoSettings(LateSumSettings):
    """Settings of Momento besides those of its encoders, its training and its memory."""

    shares_items: ClassVar[bool] = True

    use_interactive_moe: bool = setting(True, "Whether streams exchange (interactive MoE).")
    n_interactive_experts: Count = setting(4, "E, experts of each stream.")
    use_ids: bool = setting(
        True, "Whether items have a vector of their own; false leaves features and the memory."
    )
    id_dropout: Dropout = setting(
        0.2,
        "Share of the items that lose their id in a training step, in histories and among the "
        "candidates, so that features learn to carry new items.",
    )
    id_contrastive_weight: Weight = setting(
        1, "Weight of the contrastive loss on the ids; 0 leaves it out."
    )
    id_temperature: Positive = setting(0.2, "Temperature of the contrastive loss on the ids.")
