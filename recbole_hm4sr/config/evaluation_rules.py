"""Whether an evaluation can be made as the settings ask for it, before anything is read."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.recbole_files import metric_names, smaller_metrics, value_metrics
from recbole_hm4sr.config.fields import Many, fits
from recbole_hm4sr.config.settings import require

# Metrics that RecBole reports without a cut-off.
_WITHOUT_CUT_OFF = frozenset({"auc", "gauc", "mae", "rmse", "logloss"})
# From the ranks of the targets alone; all others read the lists, which are as long as topk.
_BY_RANK = frozenset({"hit", "map", "mrr", "ndcg", "precision", "recall"})
_SPLITS: dict[str, Any] = {
    "LS": Literal["valid_and_test", "valid_only", "test_only"],
    "RS": Many[float],
    "TS": Many[float],
    "GT": Many[float],
}
_ARGUMENTS = ("group_by", "mode", "order", "split", "targets")
_TARGETS = ("first", "last", "all", "visits")
_PARTS = ("valid", "test")


def wrong_split(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``eval_args``, a sentence each.

    RecBole names ``labeled`` too, for ratings: sequential data have interactions alone.
    """
    arguments = values["eval_args"]
    if not isinstance(arguments, dict):
        return []  # its type is checked with those of the other settings
    found = [
        f"eval_args.{name} is unknown; it takes {', '.join(_ARGUMENTS)}"
        for name in arguments
        if name not in _ARGUMENTS
    ]
    order, split = arguments.get("order"), arguments.get("split")
    found += require(order == "TO", "eval_args.order must be TO (by time)", order)
    group_by = arguments.get("group_by", "user")
    found += require(
        group_by in ("user", "none", None), "eval_args.group_by must be user or none", group_by
    )
    found += require(
        _is_split(split),
        "eval_args.split must be LS with valid_and_test, valid_only or test_only, or RS, TS or GT "
        "with three ratios",
        split,
    )
    kind = next(iter(split), None) if isinstance(split, dict) else None
    found += require(
        kind != "TS" or group_by == "user",
        "eval_args.group_by must be user with TS; one moment for all users is GT",
        group_by,
    )
    targets = arguments.get("targets")
    found += require(
        targets in _TARGETS if kind == "GT" else targets is None,
        f"eval_args.targets must be one of {', '.join(_TARGETS)} with GT, and left out without",
        targets,
    )
    return found + _wrong_mode(arguments.get("mode", "full"), values)


def _wrong_mode(mode: Any, values: Mapping[str, Any]) -> list[str]:
    modes = mode if isinstance(mode, dict) else {"valid": mode}
    rule = (
        "eval_args.mode must be full, or uni or pop with a number of items, as uni100; or a "
        "mapping of valid and test to these"
    )
    fits = bool(modes) and set(modes) <= set(_PARTS)
    fits = fits and all(
        isinstance(it, str) and re.fullmatch(r"full|(uni|pop)0*[1-9]\d{0,8}", it)
        for it in modes.values()
    )
    found = require(fits, rule, mode)
    if fits and values.get("rank_history") == "exclude" and set(modes.values()) != {"full"}:
        found.append("rank_history: exclude must go with eval_args.mode: full")
    return found


def _is_split(split: Any) -> bool:
    if not isinstance(split, dict) or len(split) != 1:
        return False
    kind, value = next(iter(split.items()))
    if kind not in _SPLITS or not fits(value, _SPLITS[kind]):
        return False
    return kind == "LS" or (len(value) == 3 and min(value) >= 0 < sum(value))


def require_three_parts(arguments: Mapping[str, Any]) -> None:
    """Refuse a split that cannot leave a training, a validation and a test part.

    Args:
        arguments: ``eval_args``.

    Raises:
        ConfigError: If it cannot, whatever the data are.
    """
    kind, value = next(iter(arguments["split"].items()))
    if value != "valid_and_test" if kind == "LS" else min(value[1:]) <= 0:
        raise no_three_parts(arguments["split"])


def no_three_parts(split: Any) -> ConfigError:
    """The error of a split that leaves a part empty."""
    return ConfigError(
        f"eval_args.split must leave a training, a validation and a test part, got {split!r}; the "
        f"best epoch is chosen on validation"
    )


def wrong_metrics(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the metrics, their cut-offs and the one that chooses."""
    metrics, cuts, chosen = values["metrics"], values["topk"], values["valid_metric"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    cuts = [cuts] if isinstance(cuts, int) else cuts
    named = bool(metrics) and fits(metrics, Many[str])
    unknown = [name for name in metrics if name.lower() not in metric_names()] if named else []
    found = require(named, "metrics must be names", metrics)
    found += require(
        not unknown, f"metrics must be of {', '.join(sorted(metric_names()))}", ", ".join(unknown)
    )
    whole = bool(cuts) and fits(cuts, Many[int])
    found += require(whole, "topk must be whole numbers", cuts)
    if whole:
        found += require(min(cuts) >= 1, "topk must be 1 or more", min(cuts))
    found += require(
        isinstance(chosen, str), "valid_metric must be a metric at a cut-off, as NDCG@10", chosen
    )
    return found or _wrong_mixture(metrics, values) or _wrong_choice(metrics, cuts, values)


def _wrong_mixture(metrics: list[str], values: Mapping[str, Any]) -> list[str]:
    of_values = [name for name in metrics if name.lower() in value_metrics()]
    if not of_values:
        return []
    arguments = values["eval_args"]
    mode = arguments.get("mode", "full") if isinstance(arguments, dict) else "full"
    found = require(
        len(of_values) == len(metrics),
        f"metrics must be by rank alone or by score alone ({', '.join(sorted(value_metrics()))})",
        metrics,
    )
    full = "full" in (mode.values() if isinstance(mode, dict) else [mode])
    return found + require(
        not full,
        f"eval_args.mode must draw items, as uni100, for {', '.join(of_values)}",
        mode,
    )


def _wrong_choice(metrics: list[str], cuts: list[int], values: Mapping[str, Any]) -> list[str]:
    chosen = values["valid_metric"]
    names = {f"{metric}@{cut}".lower() for metric in metrics for cut in cuts}
    names |= {metric.lower() for metric in metrics} & _WITHOUT_CUT_OFF
    found = require(
        chosen.lower() in names,
        f"valid_metric must be one of metrics at one of topk, as {metrics[0]}@{cuts[0]}",
        chosen,
    )
    if values["valid_metric_bigger"] is False and bigger_is_better(chosen):
        found.append(f"valid_metric_bigger must be true for {chosen}, of which more is better")
    return found


def bigger_is_better(metric: str) -> bool:
    """Whether more of a metric such as ``NDCG@10`` is better, as RecBole says."""
    return metric.split("@")[0].lower() not in smaller_metrics()


def beyond_ranks(values: Mapping[str, Any]) -> str:
    """The settings by which an evaluation reads more than ranks of all items; empty for none.

    Args:
        values: All settings, each of its type.
    """
    metrics, mode = values["metrics"], values["eval_args"].get("mode", "full")
    metrics = [metrics] if isinstance(metrics, str) else metrics
    others = [name for name in metrics if name.lower() not in _BY_RANK]
    if others:
        return f"metrics {', '.join(others)}"
    modes = set(mode.values()) if isinstance(mode, dict) else {mode}
    return "" if modes == {"full"} else f"eval_args.mode {', '.join(sorted(map(str, modes)))}"


def refuse_long_lists(values: Mapping[str, Any], n_items: int) -> None:
    """Refuse lists that are longer than the catalogue, where metrics read the lists themselves.

    Args:
        values: All settings.
        n_items: Number of items.

    Raises:
        ConfigError: If a cut-off is above it.
    """
    most, mode = max(values["topk"]), set(values["eval_args"]["mode"].values())
    cut = [name for name in values["metrics"] if name.lower() not in _WITHOUT_CUT_OFF]
    lists = [name for name in cut if name.lower() not in _BY_RANK]
    if most > n_items and (lists or (cut and mode != {"full"})):
        why = ", ".join(lists) or f"eval_args.mode {', '.join(sorted(mode - {'full'}))}"
        raise ConfigError(
            f"topk must be at most the number of items, {n_items:,}, with {why}, got {most}"
        )
