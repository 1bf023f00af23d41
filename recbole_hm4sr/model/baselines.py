"""Models without training that stand first in every table: what any trained model has to beat."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.config.compose import known_settings
from recbole_hm4sr.model.registry import find_baselines, find_model

# In the order of a table. RepeatLast is left out of a table where it knows no target.
DEFAULT_BASELINES = (
    "Popular",
    "RecentPopular",
    "RepeatLast",
    "ItemKNN",
    "ItemKNN as of the request",
)
_AS_OF = {"model": "ItemKNN", "settings": {"counts": "as_of"}}
# No model without training reads negative items.
_OF_TRAINING = frozenset({"train_neg_sample_args", "loss_type"})


def baseline_entry(entry: Any) -> Any:
    """An entry of ``baselines`` as one of ``models``, which has a name or settings of its own.

    Args:
        entry: A name, ``ItemKNN as of the request`` among them; or a mapping.

    Raises:
        ConfigError: If its model is not fitted once.
    """
    found = {"label": entry, **_AS_OF} if entry == DEFAULT_BASELINES[-1] else entry
    model = found.get("model") if isinstance(found, dict) else found
    find_baselines([str(model)])
    return found


def settings_of_baseline(model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of all runs that a model without training has.

    Args:
        model: Its name.
        settings: Of the grid.
    """
    known = known_settings(model, find_model(model).settings_class) - _OF_TRAINING
    return {name: value for name, value in settings.items() if name in known}


def knows_no_target(model: str, records: list[Mapping[str, Any]]) -> bool:
    """Whether runs of RepeatLast say that nobody takes an item again: the row would be Popular's.

    Args:
        model: Name of the model.
        records: Of its finished runs.
    """
    return (
        model == "RepeatLast"
        and bool(records)
        and all(record.get("zero_score_share") == 1 for record in records)
    )
