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
    Share,
    Weight,
    Whole,
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
        "K. With loss: ce, items drawn per training step for a sampled softmax, for catalogues "
        "near a million items, 0 for the exact softmax over all; with another loss, items drawn "
        "uniformly for each target, or for each step with share_negatives.",
    )
    loss: Literal["ce", "gbce", "bce", "sampled"] = setting(
        "ce",
        "ce is the cross-entropy over all items; the others set each target against K drawn "
        "items: gbce is gSASRec's binary cross-entropy, bce the plain one with the mean over the "
        "K, sampled eSASRec's softmax of the target and the K.",
    )
    gbce_t: Share = setting(
        0.75,
        "How far gbce undoes what drawing a few negatives does to the probabilities: 0 not at all, "
        "1 wholly.",
    )
    share_negatives: bool = setting(
        False,
        "With another loss than ce, whether all targets of a step have the same K negatives: one "
        "product in place of K looked up rows for each target, much faster and less varied.",
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

    @pydantic.field_validator("loss")
    @classmethod
    def _negatives_are_drawn(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value != "ce" and info.data.get("n_negatives") == 0:
            raise ValueError(f"n_negatives must be 1 or more with loss: {value}, got 0")
        return value

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


class LayerSettings(Settings):
    """A stream's encoder: what layers of any kind have."""

    hidden_size: Count = setting(64, "D, width of every stream; a multiple of n_heads.")
    n_layers: Layers = setting(2, "Transformer blocks of each stream.")
    hidden_dropout_prob: Dropout = setting(0.5, "Dropout of inputs and sub-layers.")
    layer_norm_eps: Positive = setting(1e-12, "Added to variances.")


class NormalStart(Settings):
    """Initial weights: ``layers.initialize.draw_normal``."""

    initializer_range: Positive = setting(0.02, "Standard deviation of the initial weights.")


class AttentionSettings(LayerSettings):
    """A stream's encoder of blocks that attend."""

    n_heads: Count = setting(2, "Attention heads.")
    attn_dropout_prob: Dropout = setting(0.5, "Dropout of attention weights.")

    @pydantic.field_validator("n_heads")
    @classmethod
    def _heads_divide_the_width(cls, value: int, info: pydantic.ValidationInfo) -> int:
        size = info.data.get("hidden_size")
        if size is not None and size % value:
            raise ValueError(f"hidden_size must be a multiple of n_heads ({value}), got {size}")
        return value


class EncoderSettings(NormalStart, AttentionSettings):
    """A stream's encoder of blocks that attend, and its initial weights."""


class FeedForwardSettings(Settings):
    """The token-wise maps of a block: ``layers.blocks.FeedForward``."""

    inner_size: Count = setting(256, "Width inside the feed-forward layers.")
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = setting(
        "gelu", "Activation of the feed-forward layers; gelu is by the error function."
    )


class TransformerSettings(FeedForwardSettings, EncoderSettings):
    """An encoder of equal blocks: ``layers.blocks.build_encoder``."""

    block: Literal["bert", "original", "ligr"] = setting(
        "bert",
        "Block of the encoders: bert is RecBole's; original is that of the first SASRec, which "
        "normalises queries alone, has inner layers of hidden_size with relu, and a norm after the "
        "last block; ligr is that of eSASRec, gated, with SwiGLU of inner_size.",
    )

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of ``layers.blocks.build_encoder``, one encoder a stream."""
        return {
            "block": self.block,
            "n_layers": self.n_layers,
            "hidden_size": self.hidden_size,
            "inner_size": self.inner_size,
            "n_heads": self.n_heads,
            "hidden_act": self.hidden_act,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attn_dropout_prob": self.attn_dropout_prob,
            "layer_norm_eps": self.layer_norm_eps,
        }


class ShapeSettings(Settings):
    """The shapes of a training step."""

    round_tokens: Whole = setting(
        0,
        "Tokens of the encoders in a training step are rounded up to a multiple of this, and their "
        "attention's rows to few shapes, so that shapes recur, as a GPU's graphs need; 512, say. "
        "Nothing reads what is added. 0 for no rounding.",
    )


class LateSumSettings(TransformerSettings, ShapeSettings, PackedTraining):
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
