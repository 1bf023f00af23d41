"""Settings that have another name than in earlier releases."""

from collections.abc import Mapping
from typing import Any

# Old name to new name. A run's folder of then is read by it; a user's file or flag is refused.
RENAMED = {"visits_per_epoch": "passes_per_epoch"}


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an earlier release has written, under the names of this one."""
    kept = {name: value for name, value in values.items() if name not in RENAMED}
    return {RENAMED[name]: values[name] for name in values if name in RENAMED} | kept
