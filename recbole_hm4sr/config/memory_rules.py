"""What a memory asks of other settings."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.config.settings import require


def wrong_memory(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings beside a memory, one sentence each.

    Args:
        values: All settings.
    """
    length, reach = values.get("MAX_ITEM_LIST_LENGTH"), values.get("memory_reach")
    if values.get("memory") != "events" or not (isinstance(length, int) and isinstance(reach, int)):
        return []
    return require(
        length >= reach,
        f"MAX_ITEM_LIST_LENGTH must be at least memory_reach ({reach}) with memory: events, which "
        f"reads so many of the last items",
        length,
    )
