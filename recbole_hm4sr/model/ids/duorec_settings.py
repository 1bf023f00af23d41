"""Settings of DuoRec; the defaults are the authors'."""

from typing import ClassVar, Literal

from recbole_hm4sr.config.fields import Positive, Weight, setting
from recbole_hm4sr.model.packed_settings import (
    EncoderSettings,
    FeedForwardSettings,
    PackedTraining,
)


class DuoRecSettings(FeedForwardSettings, EncoderSettings, PackedTraining):
    """Settings of DuoRec besides those of its encoder and of its training.

    RecBole's names are in parentheses.
    """

    shares_items: ClassVar[bool] = True

    contrast_views: Literal["us_x", "us", "su", "un"] = setting(
        "us_x",
        "What is contrasted (contrast): us_x, a second pass of a history and a sample with the "
        "same target; su, the first pass and that sample; un, both passes; us, un and su.",
    )
    lmd: Weight = setting(0.1, "Weight of the contrast of two passes.")
    lmd_sem: Weight = setting(0.1, "Weight of the contrast with a sample of the same target.")
    tau: Positive = setting(1.0, "Temperature of the contrasts.")
    sim: Literal["dot", "cos"] = setting(
        "dot", "Similarity of the contrasts; cos wants a lower tau, as 0.1."
    )
    mask_same_target: bool = setting(
        False,
        "Whether rows of a batch with the same target are no negatives of each other: the coarse "
        "contrast of ICSRec.",
    )
