"""Settings of WhitenRec and of ids that begin as text."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.fields import Count, Positive, setting
from recbole_hm4sr.model.packed_settings import PackedTraining, TransformerSettings


class WhitenRecSettings(TransformerSettings, PackedTraining):
    """Settings of WhitenRec besides those of its encoder and its training."""

    new_items: ClassVar[Literal["features"]] = "features"

    @classmethod
    def new_items_with(cls, values: Mapping[str, Any]) -> Literal["nothing", "features"]:
        """Nothing where an item is its own vector alone."""
        return "nothing" if values.get("item_rows") == "id" else "features"

    item_rows: Literal["text", "id", "text+id"] = setting(
        "text",
        "What an item's vector is made of: its whitened features (WhitenRec), a vector of its own "
        "(which may begin as features: id_init), or the sum.",
    )
    whitening: Literal["none", "pca", "zca"] = setting(
        "zca",
        "How features are whitened: zca keeps their axes, pca turns them to the largest variances.",
    )
    whiten_groups: Count = setting(
        1,
        "G, groups of neighbouring columns that zca whitens by themselves; more keep more of the "
        "text's neighbourhoods, and they must divide the width of each modality.",
    )
    text_map: Literal["gelu", "linear"] = setting(
        "gelu", "What is done to the map of the whitened features: gelu, or nothing."
    )
    id_init: Literal["normal", "pca", "uniform_columns", "top_variance"] = setting(
        "normal",
        "How the items' own vectors begin: random; as the whitened main axes of their features; as "
        "every so many-th column; or as the columns of largest variance over popular items.",
    )
    init_scale: Positive = setting(
        0.02, "Standard deviation of vectors that begin as features; 1 as in LLMInit's."
    )
    score: Literal["dot", "cosine"] = setting(
        "dot", "Whether a score is the inner product of user and item, or their cosine."
    )
    temperature: Positive = setting(0.07, "Temperature of score: cosine.")

    @pydantic.field_validator("whiten_groups")
    @classmethod
    def _groups_are_those_of_zca(cls, value: int, info: pydantic.ValidationInfo) -> int:
        if value > 1 and info.data.get("whitening") != "zca":
            raise ValueError(f"whiten_groups must be 1 unless whitening is zca, got {value}")
        return value

    @pydantic.field_validator("id_init")
    @classmethod
    def _ids_begin_where_there_are_some(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value != "normal" and info.data.get("item_rows") == "text":
            raise ValueError(f"id_init must be normal with item_rows: text, got {value!r}")
        return value
