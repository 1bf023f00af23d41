"""Settings of eSASRec; the defaults are the authors' for Amazon Beauty."""

from typing import Annotated, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Dropout, Layers, Positive, setting
from recbole_hm4sr.model.packed_settings import AttentionSettings, PackedTraining


class eSASRecSettings(AttentionSettings, PackedTraining):  # noqa: N801  # the model's name
    """Settings of eSASRec: those of its encoder, of its training and of its loss."""

    n_layers: Layers = setting(1, "Blocks.")
    n_heads: Count = setting(1, "Attention heads.")
    hidden_dropout_prob: Dropout = setting(0.2, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.2, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-5, "Added to variances.")
    ff_multiplier: Count = setting(
        4, "Width inside the feed-forward layers, in multiples of hidden_size."
    )
    ff_act: Literal["swiglu", "gelu", "relu"] = setting(
        "swiglu", "Activation of the feed-forward layers; swiglu has a third map beside it."
    )
    ff_bias: bool = setting(False, "Whether the maps of the feed-forward layers have biases.")
    n_negatives: Annotated[int, pydantic.Field(ge=0, le=10**6)] = setting(
        256,
        "K, items drawn uniformly for each target, or for each step with share_negatives; with "
        "loss: ce, items drawn per training step for a sampled softmax, 0 for the exact one.",
    )
    loss: Literal["ce", "gbce", "bce", "sampled"] = setting(
        "sampled",
        "sampled is the paper's softmax of a target and its negatives, gbce gSASRec's binary "
        "cross-entropy of them, bce the plain one with the mean over the negatives, ce the "
        "cross-entropy over all items.",
    )
