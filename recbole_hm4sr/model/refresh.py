"""Up to when a memory may look while a model is measured: the setting ``memory_refresh``."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from recbole_hm4sr.config.fields import Many

MemoryRefresh: TypeAlias = Literal["none", "week", "request"]
MemoryRefreshes: TypeAlias = MemoryRefresh | Many[MemoryRefresh]
# What a table adds to the name of a model.
_LABELS: dict[MemoryRefresh, str] = {
    "none": "memory frozen",
    "week": "memory to the week",
    "request": "memory to the request",
}


def refreshes(value: MemoryRefresh | Sequence[MemoryRefresh]) -> tuple[MemoryRefresh, ...]:
    """The values of the setting, which is one or several.

    >>> refreshes("week"), refreshes(["none", "request"])
    (('week',), ('none', 'request'))
    """
    return (value,) if isinstance(value, str) else tuple(value)


def refresh_labels(value: MemoryRefresh | Sequence[MemoryRefresh]) -> dict[str, str]:
    """What a table adds to the name of a model for each value; empty for a single one.

    Args:
        value: Of the setting.
    """
    several = refreshes(value)
    return {name: _LABELS[name] for name in several} if len(several) > 1 else {}


def check_refreshes(value: MemoryRefreshes) -> MemoryRefreshes:
    """The value of the setting, if it names at least one refresh and none twice.

    Raises:
        ValueError: If it does not.
    """
    several = refreshes(value)
    if not several or len(set(several)) < len(several):
        raise ValueError(
            f"memory_refresh must hold at least one value and none twice, got {list(several)}"
        )
    return value
