"""Settings of BSARec; the defaults are the authors' for Amazon Beauty."""

from typing import ClassVar

from recbole_hm4sr.config.fields import Count, Share, setting
from recbole_hm4sr.model.ids.filter_settings import FilterTraining
from recbole_hm4sr.model.packed_settings import EncoderSettings, FeedForwardSettings


class BSARecSettings(FeedForwardSettings, EncoderSettings, FilterTraining):
    """Settings of BSARec besides those of its encoder and of its training."""

    shares_items: ClassVar[bool] = True

    n_heads: Count = setting(1, "Attention heads.")
    alpha: Share = setting(0.7, "Share of the filter in a layer; the attention has the rest.")
    cutoff: Count = setting(
        5, "c: the lowest c // 2 + 1 frequencies of the window pass the filter unchanged."
    )
