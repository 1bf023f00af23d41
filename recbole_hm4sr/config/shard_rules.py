"""What a catalogue whose items lie in several processes asks of other settings."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.config.evaluation_rules import beyond_ranks
from recbole_hm4sr.config.settings import Settings


def wrong_shards(
    model: str, settings_class: type[Settings] | None, values: Mapping[str, Any]
) -> list[str]:
    """What is wrong with ``catalogue_rows: sharded``, a sentence at most.

    Args:
        model: Name of the model.
        settings_class: The class of the model's settings, if it has one.
        values: All settings, each of its type.
    """
    if values.get("catalogue_rows") != "sharded":
        return []
    if settings_class is None or not settings_class.shares_items:
        return [f"catalogue_rows must be replicated with {model}, whose tables are not shared"]
    why = next((reason for holds, reason in _reasons(values) if holds), None)
    return [f"catalogue_rows must be replicated with {why}"] if why else []


def _reasons(values: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Whether something is so, and why items cannot be shared then."""
    ranks = beyond_ranks(values)
    is_half = values.get("enable_amp") and values.get("amp_dtype") == "float16"
    return [
        (values.get("loss") != "ce", "another loss than ce: the softmax is over all items"),
        (bool(values.get("n_negatives")), "n_negatives: the softmax is over all items"),
        (values.get("missing_ids") == "mean", "missing_ids: mean, which reads all ids"),
        (bool(values.get("clip_grad_norm")), "clip_grad_norm, which reads all gradients"),
        (bool(is_half), "amp_dtype: float16, whose scale reads all gradients"),
        (bool(values.get("init_from")), "init_from, which fills whole tables"),
        (bool(values.get("ema_decay")), "ema_decay, whose average every process holds whole"),
        (bool(values.get("list_metrics")), "list_metrics: each process lists its own items"),
        (bool(ranks), f"{ranks}: each process ranks its own items"),
    ]
