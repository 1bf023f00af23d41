"""Settings that MoRec and IISAN share: of their encoder, and what their losses go with."""

from typing import Any, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Dropout, Positive, setting
from recbole_hm4sr.model.packed_settings import AttentionSettings, PackedTraining


class LabSettings(AttentionSettings, PackedTraining):
    """Settings of the encoder of MoRec and IISAN, and of their training."""

    new_items: ClassVar[Literal["features"]] = "features"

    hidden_size: Count = setting(64, "D, width of an item's vector; a multiple of n_heads.")
    hidden_dropout_prob: Dropout = setting(0.1, "Dropout of inputs and sub-layers.")
    attn_dropout_prob: Dropout = setting(0.1, "Dropout of attention weights.")
    layer_norm_eps: Positive = setting(1e-6, "Added to variances.")
    position_from: Literal["newest", "oldest"] = setting(
        "newest", "The end of a window that positions are counted from."
    )

    @pydantic.field_validator("memory")
    @classmethod
    def _a_memory_has_another_loss(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value == "events" and info.data.get("loss") == "in_batch":
            raise ValueError("memory must be none with loss: in_batch, which scores vectors alone")
        return value


def refuse_unfit_loss(loss: str, data: dict[str, Any]) -> None:
    """Raise ``ValueError`` where a loss does not go with the settings before it.

    Args:
        loss: ``ce`` for the softmax over all items, or one that sees some of them.
        data: The settings that are known.
    """
    if loss != "ce" and data.get("n_negatives"):
        raise ValueError(
            f"n_negatives must be 0 unless loss is ce, whose softmax they estimate, got "
            f"{data['n_negatives']} with loss: {loss}"
        )
