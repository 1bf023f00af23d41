"""Settings of HM4SR. The values stand in ``properties/model/HM4SR.yaml``."""

import dataclasses
from typing import Any, Literal

from recbole_hm4sr.settings import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class HM4SRSettings:
    """Everything HM4SR can be told; the paper's or the authors' name in parentheses.

    Attributes:
        train_mode: ``prefix`` trains on RecBole's samples, a prefix of a history each;
            ``sequence`` trains many positions of a history in one pass.
        visits_per_epoch: In ``sequence`` mode, times an epoch shows a history; each visit trains a
            share of its targets. A batch has the same number of targets of more users, which
            matters to the contrastive losses: they set the rows of a batch against each other.
        train_history: Whether the items before a target stay among the candidates of its softmax
            and the negatives of its contrastive losses, as in the paper. ``exclude`` leaves them
            out, as ``rank_history: exclude`` leaves them out of the ranking.
        n_negatives: Items drawn a training step for a sampled softmax, which reads and projects no
            more of the catalogue than the step shows; 0 for the exact softmax over all items.
        hidden_size: D, width of every stream.
        inner_size: Width inside the feed-forward layers.
        n_layers: Transformer layers of each stream.
        n_heads: Attention heads.
        hidden_act: Activation of the feed-forward layers.
        hidden_dropout_prob: Dropout of inputs and sub-layers.
        attn_dropout_prob: Dropout of attention weights.
        layer_norm_eps: Added to variances.
        initializer_range: Standard deviation of the initial weights.
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

    train_mode: Literal["prefix", "sequence"]
    visits_per_epoch: int
    train_history: Literal["include", "exclude"]
    n_negatives: int
    hidden_size: int
    inner_size: int
    n_layers: int
    n_heads: int
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"]
    hidden_dropout_prob: float
    attn_dropout_prob: float
    layer_norm_eps: float
    initializer_range: float
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

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of ``layers.encoder.build_encoder``, one encoder a stream."""
        names = (
            "n_layers",
            "hidden_size",
            "inner_size",
            "n_heads",
            "hidden_act",
            "hidden_dropout_prob",
            "attn_dropout_prob",
            "layer_norm_eps",
        )
        return {name: getattr(self, name) for name in names}

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        found = []
        for name in ("hidden_size", "inner_size", "n_heads", "n_interactive_experts"):
            found += require(
                getattr(self, name) >= 1, f"{name} must be 1 or more", getattr(self, name)
            )
        found += require(
            self.n_temporal_experts >= 1,
            "n_temporal_experts must be 1 or more",
            self.n_temporal_experts,
        )
        found += require(
            1 <= self.visits_per_epoch <= 32767,
            "visits_per_epoch must be from 1 to 32767",
            self.visits_per_epoch,
        )
        found += require(
            0 <= self.n_negatives <= 10**6,
            "n_negatives must be from 0 to 1000000",
            self.n_negatives,
        )
        found += require(
            0 <= self.n_layers <= 1000, "n_layers must be from 0 to 1000", self.n_layers
        )
        if self.n_heads >= 1:
            found += require(
                self.hidden_size % self.n_heads == 0,
                f"hidden_size must be a multiple of n_heads ({self.n_heads})",
                self.hidden_size,
            )
        for name in ("hidden_dropout_prob", "attn_dropout_prob"):
            value = getattr(self, name)
            found += require(0 <= value < 1, f"{name} must be in [0, 1)", value)
        found += require(
            0 <= self.placeholder_ratio <= 1,
            "placeholder_ratio must be in [0, 1]",
            self.placeholder_ratio,
        )
        for name in (
            "layer_norm_eps",
            "initializer_range",
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
