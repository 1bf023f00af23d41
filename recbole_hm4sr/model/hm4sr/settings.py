"""Settings of HM4SR."""

from typing import ClassVar, Literal

from recbole_hm4sr.config.fields import Count, Positive, Share, Weight, setting
from recbole_hm4sr.model.packed_settings import LateSumSettings


class HM4SRSettings(LateSumSettings):
    """Settings of HM4SR besides those of its encoders and of its training.

    The paper's or the authors' names are in parentheses.
    """

    shares_items: ClassVar[bool] = True

    # Mixtures of experts
    use_interactive_moe: bool = setting(True, "Whether streams exchange (interactive MoE).")
    n_interactive_experts: Count = setting(4, "E, experts of each stream (start_expert_num).")
    use_temporal_moe: bool = setting(True, "Whether times scale the streams (temporal MoE).")
    n_temporal_experts: Count = setting(4, "E', experts of each stream (temporal_expert_num).")
    train_temporal_experts: bool = setting(
        True, "False keeps the temporal experts at their initial values, as the authors' code does."
    )

    # Time
    buckets_per_doubling: Positive = setting(
        100, "s, gap buckets for each doubling of the gap between interactions."
    )
    time_origin: Literal["epoch", "dataset"] = setting(
        "epoch", "Moment that counts as 0: the Unix epoch, or the first of the training part."
    )
    time_scale: Positive = setting(
        1, "Seconds per unit of the absolute time; the authors' value is 1."
    )

    # Auxiliary losses
    id_contrastive_weight: Weight = setting(
        1, "Weight of the contrastive loss on the ids (IDCL); 0 leaves it out."
    )
    id_temperature: Positive = setting(0.2, "Temperature of the contrastive loss on the ids.")
    category_prediction_weight: Weight = setting(
        1, "Weight of the category loss (CP); 0 leaves it out."
    )
    placeholder_weight: Weight = setting(
        1, "Weight of the placeholder loss (PCL; beta); 0 leaves it out."
    )
    placeholder_temperature: Positive = setting(
        1, "Temperature of the placeholder loss (phcl_temperature)."
    )
    placeholder_ratio: Share = setting(0.3, "Share of positions replaced, rounded down.")
