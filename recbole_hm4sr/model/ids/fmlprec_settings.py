"""Settings of FMLP-Rec; sizes and dropout are the authors'."""

from typing import ClassVar

from recbole_hm4sr.config.fields import setting
from recbole_hm4sr.model.ids.filter_settings import FilterTraining
from recbole_hm4sr.model.packed_settings import FeedForwardSettings, LayerSettings, NormalStart


class FMLPRecSettings(FeedForwardSettings, NormalStart, LayerSettings, FilterTraining):
    """Settings of FMLP-Rec besides those of its layers and of its training."""

    shares_items: ClassVar[bool] = True

    share_filter: bool = setting(
        False, "Whether all channels have one filter, in place of one each."
    )
