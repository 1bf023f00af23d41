"""Which items can be candidates, of which models and under which metrics."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.config.evaluation_rules import beyond_ranks
from recbole_hm4sr.config.settings import Settings


def wrong_catalogue(
    model: str, settings_class: type[Settings] | None, values: Mapping[str, Any]
) -> list[str]:
    """What is wrong with ``catalogue: all``, a sentence at most.

    Args:
        model: Name of the model.
        settings_class: The class of the model's settings, if it has one.
        values: All settings.
    """
    if values.get("catalogue") != "all":
        return []
    way = "nothing" if settings_class is None else settings_class.new_items_with(values)
    if way == "nothing":
        why = "" if settings_class is None else settings_class.why_no_new_items
        return [
            f"catalogue must be interacted with {model}, which does not score an item without "
            f"interactions by its features{f' ({why})' if why else ''}; models that do take all"
        ]
    if way == "features" and not values.get("modalities"):
        return [
            f"catalogue must be interacted without modalities: {model} scores items that have no "
            f"interaction by their features"
        ]
    return []


def wrong_candidates(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``candidate_items: alive``, a sentence at most.

    Args:
        values: All settings, each of its type.
    """
    if values.get("candidate_items") != "alive":
        return []
    why = beyond_ranks(values)
    return [f"candidate_items must be all with {why}: alive is for ranks"] if why else []
