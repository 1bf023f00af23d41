"""Settings of the time-aware rivals; the defaults are their authors' unless said otherwise."""

from collections.abc import Mapping
from typing import Any, Literal

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
from recbole_hm4sr.model.packed_settings import (
    EncoderSettings,
    PackedTraining,
    TransformerSettings,
)


class PairwiseSettings(PackedTraining):
    """Which loss trains the scores."""

    loss: Literal["bce", "ce"] = setting(
        "bce",
        "bce is the paper's binary cross-entropy of a target and one item drawn beside it, ce the "
        "cross-entropy over all items, or with n_negatives over a sample.",
    )

    @pydantic.field_validator("loss")
    @classmethod
    def _negatives_are_drawn(cls, value: str, info: pydantic.ValidationInfo) -> str:
        n_negatives = info.data.get("n_negatives", 0)
        if value == "bce" and n_negatives:
            raise ValueError(f"n_negatives must be 0 with loss: bce, got {n_negatives}")
        return value


class MomentSettings(PackedTraining):
    """Settings of a model whose scores depend on the moment of a request without a memory too."""

    @staticmethod
    def reads_moment(settings: Mapping[str, Any]) -> bool:  # noqa: ARG004
        """True: ``request_time`` says which moment that is."""
        return True


class TiSASRecSettings(EncoderSettings, PairwiseSettings):
    """Settings of TiSASRec, on MovieLens 1M."""

    hidden_size: Count = setting(50, "D, width of items, positions and intervals.")
    n_heads: Count = setting(1, "Attention heads.")
    hidden_dropout_prob: Dropout = setting(0.2, "Dropout of inputs, positions and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.2, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-8, "Added to variances.")
    max_interval: Count = setting(
        256, "k, the longest interval that has a vector of its own; longer ones share it."
    )
    interval_scale: Literal["user_min"] | Positive = setting(
        "user_min",
        "The unit of intervals: user_min for each user's smallest gap above zero, or so many "
        "seconds for everybody.",
    )
    scale_embedding: bool = setting(True, "Whether item vectors are read times the root of D.")
    l2_emb: Weight = setting(
        0, "Weight of the sum of squares of the five tables; the authors' is 5e-5."
    )
    time_dropout: Literal["table", "none"] = setting(
        "table", "Whether the tables of intervals have dropout, drawn once a step."
    )


class MEANTIMESettings(MomentSettings):
    """Settings of MEANTIME. There is a head for each kernel."""

    hidden_size: Count = setting(64, "D, width of tokens and kernels; a multiple of the kernels.")
    n_layers: Layers = setting(2, "Transformer blocks.")
    hidden_dropout_prob: Dropout = setting(0.2, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.2, "Dropout of attention weights.")
    kernel_dropout: Dropout = setting(0.2, "Dropout of what kernels make of positions and times.")
    layer_norm_eps: Positive = setting(1e-5, "Added to variances.")
    initializer_range: Positive = setting(0.02, "Standard deviation of the initial weights.")
    absolute_kernels: Many[Literal["p", "d", "c"]] = setting(
        ["p", "d"], "Heads that read when a token is: p its position, d its day, c nothing."
    )
    relative_kernels: Many[Literal["s", "e", "l"]] = setting(
        ["s", "l"],
        "Heads that read the time between two tokens: s by sines, e by exponentials, l by "
        "logarithms.",
    )
    time_unit: Positive = setting(86400, "Seconds a unit of that time.")
    cloze_ratio: Dropout = setting(0.2, "Share of the items of a history that are filled in.")

    @pydantic.field_validator("relative_kernels")
    @classmethod
    def _kernels_divide_the_width(
        cls, value: tuple[str, ...], info: pydantic.ValidationInfo
    ) -> tuple[str, ...]:
        size, n_kernels = info.data.get("hidden_size"), len(value)
        n_kernels += len(info.data.get("absolute_kernels", ()))
        if not n_kernels:
            raise ValueError("absolute_kernels and relative_kernels must name one at least")
        if size is not None and size % n_kernels:
            raise ValueError(
                f"hidden_size must be a multiple of the number of kernels ({n_kernels}), got {size}"
            )
        if size is not None and size % 2 and "s" in value:
            raise ValueError(f"hidden_size must be even for the kernel s, got {size}")
        return value

    @pydantic.field_validator("train_mode", "train_history", "train_targets", "memory")
    @classmethod
    def _masks_are_filled_in(cls, value: str, info: pydantic.ValidationInfo) -> str:
        needed = {
            "train_mode": (
                "sequence",
                "it fills in masked items of whole histories, and a prefix is read from both sides",
            ),
            "train_history": ("include", "a masked item is in the middle of its history"),
            "train_targets": ("next", "a masked item is one target"),
            "memory": ("none", "a masked item is no request"),
        }
        name = str(info.field_name)
        only, why = needed[name]
        if value != only:
            raise ValueError(f"{name} must be {only} with MEANTIME, since {why}, got {value}")
        return value


class MOJITOSettings(PairwiseSettings, MomentSettings):
    """Settings of MOJITO. There are two heads, mixtures of two kinds of scores."""

    hidden_size: Count = setting(64, "D, width of items, users and contexts; tokens have 2D.")
    n_layers: Layers = setting(2, "Blocks.")
    hidden_dropout_prob: Dropout = setting(0.3, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.3, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-6, "Added to variances.")
    time_channels: Count = setting(16, "T, sums of sines and cosines of each calendar field.")
    longest_period: Positive = setting(
        8, "The periods of a field begin from 1 to ten to this power."
    )
    lambda_global: Weight = setting(0.1, "Weight of the long-term part.")
    lambda_trans: Share = setting(
        0.5, "How much of the long-term part is learned from the user's vector and items."
    )
    n_long_items: Count = setting(
        20, "S, items of the user in the long-term part: drawn in training, else the newest."
    )
    history_term: bool = setting(
        False,
        "Whether the scores of an evaluation have the authors' term of the history, which no loss "
        "trains.",
    )

    @pydantic.field_validator("train_targets", "memory")
    @classmethod
    def _one_target_and_no_memory(cls, value: str, info: pydantic.ValidationInfo) -> str:
        needed = {"train_targets": "next", "memory": "none"}
        name = str(info.field_name)
        if value != needed[name]:
            raise ValueError(
                f"{name} must be {needed[name]} with MOJITO, whose loss has a part for each part "
                f"of its scores, got {value}"
            )
        return value


class TiCoSeRecSettings(TransformerSettings, PairwiseSettings):
    """Settings of TiCoSeRec."""

    hidden_size: Count = setting(128, "D, width of items and positions; a multiple of n_heads.")
    attn_dropout_prob: Dropout = setting(0.2, "Dropout of attention weights.")
    insert_rate: Share = setting(0.5, "Share of the items behind which a view has a similar one.")
    substitute_rate: Share = setting(0.1, "Share of the items that a similar one replaces.")
    mask_rate: Dropout = setting(0.5, "Share of the items that are masked.")
    mask_mode: Literal["random", "maximum", "minimum"] = setting(
        "random", "Which items are masked: any, or those before the largest or smallest gaps."
    )
    crop_rate: Share = setting(0.7, "Share of the items that a crop keeps.")
    reorder_rate: Share = setting(0.2, "Share of the items that are shuffled.")
    short_threshold: Whole = setting(
        12, "Histories of so many items or fewer are neither cropped nor shuffled."
    )
    window_gaps: Literal["fixed", "official"] = setting(
        "fixed",
        "Whether the variance of a window of w items is that of its w - 1 gaps, or as in the "
        "authors' code of the first w - 2.",
    )
    cl_weight: Weight = setting(0.1, "Weight of the contrast of views; 0 leaves it out.")
    cl_start_epoch: Count = setting(40, "The first epoch with the contrast.")
    cl_pool: Literal["last", "mean"] = setting(
        "last", "What is contrasted of a view: its newest state, or the mean of its states."
    )
    uniform_share: Share = setting(
        0.15, "Share of the users, those of the most even gaps, whose views are the history itself."
    )
