"""Settings that models on packed tokens share."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.fields import (
    Count,
    Dropout,
    Layers,
    Many,
    Positive,
    Weight,
    setting,
)
from recbole_hm4sr.config.settings import Settings
from recbole_hm4sr.model.memory_settings import MemorySettings


class _Training(Settings):
    """How a model on packed tokens is trained."""

    train_mode: Literal["prefix", "sequence"] = setting(
        "sequence",
        "prefix trains on RecBole's samples, a prefix of a history each; sequence trains many "
        "positions of a history in one pass, several times faster and level in NDCG@10.",
    )
    passes_per_epoch: Annotated[int, pydantic.Field(ge=1, le=32767)] = setting(
        1,
        "In sequence mode, passes over a history per epoch, each training a share of its targets: "
        "with more, a batch holds as many targets of more users, whose rows the contrastive losses "
        "set against each other.",
    )
    train_history: Literal["include", "exclude"] = setting(
        "include",
        "Whether the items before a target stay among the candidates of its softmax and the "
        "negatives of its other losses, as in the paper; exclude leaves out all items seen "
        "before it, those older than the window too, as rank_history: exclude does in the ranking.",
    )
    n_negatives: Annotated[int, pydantic.Field(ge=0, le=10**6)] = setting(
        0,
        "Items drawn per training step for a sampled softmax, for catalogues near a million items; "
        "0 for the exact softmax over all items.",
    )

    train_targets: Literal["next", "visit"] = setting(
        "next",
        "next trains on the item after each position; visit on all that is left of that item's "
        "visit (same_visit_gap), in equal shares: inside a visit the order says little.",
    )

    # Memory
    memory: Literal["none", "events"] = setting(
        "none",
        "events adds to the scores who bought what next, as it was known at the moment of each "
        "request.",
    )
    memory_weights: Literal["equal", "learned", "situation"] = setting(
        "situation",
        "How the relations of the memory are weighed: as they start, by learned weights, or by "
        "weights that depend on the situation of the request as well.",
    )
    dense_weights: Many[Weight] = setting(
        [0, 0.25, 0.5, 0.75, 1],
        "Weights of the dense part beside the memory that each validation tries, rising, 1 among "
        "them; the best is kept with the model. One alone switches that off.",
    )
    dense_dropout: Dropout = setting(
        0.0,
        "Share of the rows of a training step that are scored by the memory alone, so that its "
        "weights do not lean on a dense part that grows old.",
    )
    popularity: bool = setting(False, "Whether recent popularity is a relation of the memory.")

    @pydantic.field_validator("dense_weights")
    @classmethod
    def _weights_rise_to_what_is_trained(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        rises = all(later > weight for weight, later in itertools.pairwise(value))
        if not rises or 1 not in value:
            raise ValueError(f"dense_weights must rise, with 1 among them, got {list(value)}")
        return value


class PackedTraining(MemorySettings, _Training):
    """How a model on packed tokens is trained, and what its memory reads."""

    @staticmethod
    def reads_moment(settings: Mapping[str, Any]) -> bool:
        """Whether scores depend on the moment of the request.

        Args:
            settings: All settings of a run.
        """
        return settings.get("memory") == "events"


class EncoderSettings(Settings):
    """A stream's encoder: what every block of attention and feed-forward layers has."""

    hidden_size: Count = setting(64, "D, width of every stream; a multiple of n_heads.")
    n_layers: Layers = setting(2, "Transformer blocks of each stream.")
    n_heads: Count = setting(2, "Attention heads.")
    hidden_dropout_prob: Dropout = setting(0.5, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.5, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-12, "Added to variances.")
    initializer_range: Positive = setting(0.02, "Standard deviation of the initial weights.")

    @pydantic.field_validator("n_heads")
    @classmethod
    def _heads_divide_the_width(cls, value: int, info: pydantic.ValidationInfo) -> int:
        size = info.data.get("hidden_size")
        if size is not None and size % value:
            raise ValueError(f"hidden_size must be a multiple of n_heads ({value}), got {size}")
        return value


class TransformerSettings(EncoderSettings):
    """An encoder of BERT's blocks: ``layers.blocks.build_encoder``."""

    inner_size: Count = setting(256, "Width inside the feed-forward layers.")
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = setting(
        "gelu", "Activation of the feed-forward layers; gelu is by the error function."
    )

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of ``layers.blocks.build_encoder``, one encoder a stream."""
        return {
            "n_layers": self.n_layers,
            "hidden_size": self.hidden_size,
            "inner_size": self.inner_size,
            "n_heads": self.n_heads,
            "hidden_act": self.hidden_act,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attn_dropout_prob": self.attn_dropout_prob,
            "layer_norm_eps": self.layer_norm_eps,
        }


class LateSumSettings(TransformerSettings, PackedTraining):
    """Settings of models that sum ids and features late: ``model/late_sum.py``."""

    new_items: ClassVar[Literal["features"]] = "features"

    id_dropout: Dropout = setting(
        0.0,
        "Share of the items that lose their id in a training step, in histories and among the "
        "candidates, so that features learn to carry new items.",
    )
    missing_ids: Literal["zero", "mean"] = setting(
        "zero",
        "What an item has in place of an id that it lost in a step or that no training row shows: "
        "nothing, or the mean of the trained ids.",
    )
