"""Settings that MoRec and IISAN share: of their encoder, and what their losses go with."""

from typing import Any, Literal

from recbole_hm4sr.config.fields import Count, Dropout, Positive, setting
from recbole_hm4sr.model.packed_settings import EncoderSettings, PackedTraining


class LabSettings(EncoderSettings, PackedTraining):
    """Settings of the encoder of MoRec and IISAN, and of their training."""

    hidden_size: Count = setting(64, "D, width of an item's vector; a multiple of n_heads.")
    hidden_dropout_prob: Dropout = setting(0.1, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.1, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-6, "Added to variances.")
    initializer_range: Positive = setting(
        0.02,
        "Not read.",
        refused="the weights begin by Xavier's rule, which needs no range; leave it out",
    )
    position_from: Literal["newest", "oldest"] = setting(
        "newest", "The end of a window that positions are counted from."
    )


def refuse_unfit_loss(loss: str, data: dict[str, Any]) -> None:
    """Raise ``ValueError`` where a loss does not go with the settings before it.

    Args:
        loss: ``full`` for the softmax over all items, or one that sees some of them.
        data: The settings that are known.
    """
    if loss != "full" and data.get("n_negatives"):
        raise ValueError(
            f"n_negatives must be 0 unless loss is full, whose softmax they estimate, got "
            f"{data['n_negatives']} with loss: {loss}"
        )
    if loss == "in_batch" and data.get("memory") == "events":
        raise ValueError("memory must be none with loss: in_batch, which scores vectors alone")
