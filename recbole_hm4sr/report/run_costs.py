"""The costs of a whole run in words, which say what was not measured."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.page.format import duration


def whole_run_text(metrics: Mapping[str, Any]) -> str:
    """Seconds of all processes of a run.

    Args:
        metrics: ``metrics.json`` of the run. That of an earlier release knows the last process
            only, and does not say whether there was another one.
    """
    text = duration(metrics["seconds"])
    return text if metrics.get("measured_whole_run") else f"at least {text}"


def peak_memory_text(metrics: Mapping[str, Any]) -> str:
    """The largest peak memory of the processes of a run.

    Args:
        metrics: ``metrics.json`` of the run.
    """
    text = f"{metrics['peak_memory_mb']:,} MiB"
    if metrics.get("peak_memory_of") != "run":
        return f"{text} of its process, with what ran there before"
    return text if metrics.get("measured_whole_run") else f"at least {text}"
