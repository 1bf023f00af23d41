"""Settings of KERec; the defaults are the authors' for Amazon Beauty."""

from typing import Literal

from recbole_hm4sr.config.fields import Count, Many, Positive, Share, Weight, setting
from recbole_hm4sr.model.packed_settings import (
    EncoderSettings,
    FeedForwardSettings,
    PackedTraining,
)


class KERecSettings(FeedForwardSettings, EncoderSettings, PackedTraining):
    """Settings of KERec besides those of its encoder and of its training."""

    position_order: Literal["newest", "oldest"] = setting(
        "newest",
        "Which item has a fixed position: the newest, as the authors have it, or the oldest, which "
        "goes with train_mode: sequence: a position then means the same there as in serving.",
    )
    lags: Many[Count] = setting(
        [1, 3, 5], "S: how far back the differences of a token's state with earlier ones reach."
    )
    lag_weight: float = setting(
        0.1, "Initial weight of the differences beside the attention; one a layer, trained."
    )
    n_masks: Count = setting(
        5, "Dropout masks of a user's vector in training, whose cosines are averaged."
    )
    temperature: Positive = setting(1.0, "Initial temperature of the cosines, trained.")
    cl_weight: Weight = setting(
        0.3,
        "Weight of the contrast with a pass over noisy states; 0 leaves it and its pass out.",
    )
    noise_scale: Share = setting(0.2, "Share of the positions that get noise.")
    noise_mix: Share = setting(
        0.7, "Share of the differences in the direction of the noise; chance has the rest."
    )
    noise_clip: Positive = setting(
        2.0, "Largest noise of a position; 1 is for differences of the history's mean length."
    )
