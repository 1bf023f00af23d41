"""Settings of gSASRec; the defaults are the authors', found on MovieLens 1M."""

from typing import Annotated, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Positive, setting
from recbole_hm4sr.model.packed_settings import EncoderSettings, PackedTraining


class gSASRecSettings(EncoderSettings, PackedTraining):  # noqa: N801  # the model's name and Settings
    """Settings of gSASRec: those of its encoder, of its training and of its loss."""

    hidden_size: Count = setting(128, "D, width of both item tables; a multiple of n_heads.")
    n_heads: Count = setting(1, "Attention heads.")
    layer_norm_eps: Positive = setting(1e-5, "Added to variances.")
    initializer_range: Positive = setting(
        0.02,
        "Standard deviation of the initial item and position vectors; the linear maps begin as "
        "PyTorch's do.",
    )
    n_negatives: Annotated[int, pydantic.Field(ge=0, le=10**6)] = setting(
        256,
        "K, items drawn uniformly for each target, or for each step with share_negatives; with "
        "loss: ce, items drawn per training step for a sampled softmax, 0 for the exact one.",
    )
    loss: Literal["ce", "gbce", "bce", "sampled"] = setting(
        "gbce",
        "gbce is the paper's binary cross-entropy of a target and its negatives, bce the plain one "
        "with the mean over the negatives, sampled the softmax of the target and its negatives, ce "
        "the cross-entropy over all items.",
    )
    tie_items: bool = setting(
        False, "Whether items are scored by their input vectors, in place of a second table."
    )
