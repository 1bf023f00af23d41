"""Settings of HM4SR. The values stand in ``properties/model/HM4SR.yaml``."""

import dataclasses
from typing import Literal

from recbole_hm4sr.config.settings import require
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class HM4SRSettings(TransformerSettings, PackedTraining):
    """Settings of HM4SR besides those of its encoders and of its training.

    The paper's or the authors' names stand in parentheses.

    Attributes:
        use_interactive_moe: Whether streams exchange (interactive MoE).
        n_interactive_experts: E (``start_expert_num``).
        use_temporal_moe: Whether times scale the streams (temporal MoE).
        n_temporal_experts: E' (``temporal_expert_num``).
        train_temporal_experts: False keeps the temporal experts at their initial values, as the
            authors' code does.
        buckets_per_doubling: s, gap buckets for each doubling of the gap.
        time_origin: Moment that counts as 0: the Unix epoch, or the first of the training part.
        time_scale: Seconds per unit of the absolute time; the authors' is 1.
        id_contrastive_weight: Weight of the contrastive loss on the ids (IDCL); 0 leaves it out.
        id_temperature: Its temperature.
        category_prediction_weight: Weight of the category loss (CP); 0 leaves it out.
        placeholder_weight: Weight of the placeholder loss (PCL; ``beta``); 0 leaves it out.
        placeholder_temperature: Its temperature (``phcl_temperature``).
        placeholder_ratio: Share of positions replaced.
    """

    use_interactive_moe: bool
    n_interactive_experts: int
    use_temporal_moe: bool
    n_temporal_experts: int
    train_temporal_experts: bool
    buckets_per_doubling: float
    time_origin: Literal["epoch", "dataset"]
    time_scale: float
    id_contrastive_weight: float
    id_temperature: float
    category_prediction_weight: float
    placeholder_weight: float
    placeholder_temperature: float
    placeholder_ratio: float

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        found = TransformerSettings.problems(self) + PackedTraining.problems(self)
        for name in ("n_interactive_experts", "n_temporal_experts"):
            found += require(
                getattr(self, name) >= 1, f"{name} must be 1 or more", getattr(self, name)
            )
        found += require(
            0 <= self.placeholder_ratio <= 1,
            "placeholder_ratio must be in [0, 1]",
            self.placeholder_ratio,
        )
        for name in (
            "buckets_per_doubling",
            "time_scale",
            "id_temperature",
            "placeholder_temperature",
        ):
            found += require(
                getattr(self, name) > 0, f"{name} must be above 0", getattr(self, name)
            )
        for name in ("id_contrastive_weight", "category_prediction_weight", "placeholder_weight"):
            found += require(
                getattr(self, name) >= 0, f"{name} must be 0 or more", getattr(self, name)
            )
        return found
