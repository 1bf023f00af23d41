"""What RecBole's own settings may be: found before a run starts, where RecBole fails late."""

import importlib.util
import re
from typing import Any, Literal

from recbole.evaluator.register import metrics_dict

from recbole_hm4sr.settings import convert, expected_words, require

# What makes runs comparable: the same for all models of a comparison and all trials of a search.
PROTOCOL = (
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "USER_ID_FIELD",
    "eval_args",
    "filter_inter_by_user_or_item",
    "item_inter_num_interval",
    "metrics",
    "metric_decimal_place",
    "rank_history",
    "repeatable",
    "rm_dup_inter",
    "tie_order",
    "timestamp_unit",
    "topk",
    "user_inter_num_interval",
    "val_interval",
    "valid_metric",
    "valid_metric_bigger",
)

MAX_SEED = 2**32 - 1  # of NumPy

_RANGES: dict[str, tuple[str, Any]] = {
    "seed": (f"must be from 0 to {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED),
    "epochs": ("must be 1 or more", lambda value: value >= 1),
    "train_batch_size": ("must be 1 or more", lambda value: value >= 1),
    "eval_batch_size": ("must be 1 or more", lambda value: value >= 1),
    "learning_rate": ("must be above 0", lambda value: value > 0),
    "weight_decay": ("must be 0 or more", lambda value: value >= 0),
    "stopping_step": ("must be 0 or more", lambda value: value >= 0),
    "eval_step": ("must be 1 or more", lambda value: value >= 1),
    "MAX_ITEM_LIST_LENGTH": ("must be from 1 to 1000000", lambda value: 1 <= value <= 10**6),
    "n_layers": ("must be from 0 to 1000", lambda value: 0 <= value <= 1000),
    "num_layers": ("must be from 0 to 1000", lambda value: 0 <= value <= 1000),
    "metric_decimal_place": ("must be 1 or more", lambda value: value >= 1),
    "worker": ("must be 0 or more", lambda value: value >= 0),
    "field_separator": ("must be a tab", lambda value: value == "\t"),
    "seq_separator": ("must be a space", lambda value: value == " "),
}


# Metrics that RecBole reports without a cut-off.
_WITHOUT_CUT_OFF = frozenset({"auc", "gauc", "mae", "rmse", "logloss"})


def wrong_recbole_values(
    values: dict[str, Any], defaults: dict[str, Any], own: set[str]
) -> list[str]:
    """What is wrong with the values of RecBole's settings, a sentence each.

    Args:
        values: All settings.
        defaults: RecBole's defaults, whose types the values must have.
        own: Names that this package's settings classes check.
    """
    names = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")
    found = [
        f"{name} must be the name of a column, got {values.get(name)!r}"
        for name in names
        if not isinstance(values.get(name), str) or not values[name]
    ]
    if found:
        return found
    return (
        _wrong_types(values, defaults, own)
        + _wrong_choices(values)
        + _wrong_intervals(values)
        + _wrong_columns(values)
        + _wrong_split(values)
        + _wrong_metrics(values)
    )


def _wrong_types(values: dict[str, Any], defaults: dict[str, Any], own: set[str]) -> list[str]:
    """The types of RecBole's defaults, and ranges."""
    found = []
    for name, default in defaults.items():
        value, kind = values.get(name, default), type(default)
        if name in own or default is None or name in ("eval_args", "load_col", "metrics", "topk"):
            continue
        if kind is dict or (kind is str and (value is None or isinstance(value, int))):
            continue
        if value is None and name in _MAY_BE_NULL:
            continue
        if kind is int and name.endswith(("_prob", "_ratio")):
            kind = float
        fits = isinstance(value, list) if kind is list else convert(value, kind)[0]
        if not fits:
            expected = "a list" if kind is list else expected_words(kind)
            found.append(f"{name} must be {expected}, got {value!r}")
        elif name in _RANGES and not _RANGES[name][1](value):
            found.append(f"{name} {_RANGES[name][0]}, got {value!r}")
    return found


# RecBole's settings that this package decides by itself where they are null.
_MAY_BE_NULL = frozenset({"show_progress"})
# RecBole's settings that are off by default, whose kind its defaults do not tell.
_OPTIONAL: dict[str, Any] = {
    "additional_feat_suffix": list,
    "alias_of_entity_id": list,
    "alias_of_item_id": list,
    "alias_of_relation_id": list,
    "alias_of_user_id": list,
    "discretization": dict,
    "normalize_field": list,
    "numerical_features": list,
    "preload_weight": dict,
    "seq_len": dict,
    "threshold": dict,
}
_LEARNERS = ("adagrad", "adam", "adamw", "rmsprop", "sgd", "sparse_adam")


def _wrong_choices(values: dict[str, Any]) -> list[str]:
    """Where RecBole takes a default of its own for an unknown value, or fails in the first step."""
    learner, clipping = str(values.get("learner", "adam")), values.get("clip_grad_norm")
    found = require(
        learner.lower() in _LEARNERS, f"learner must be one of {', '.join(_LEARNERS)}", learner
    )
    found += require(
        clipping is None
        or (
            convert(clipping, dict[str, float])[0]
            and {"max_norm"} <= set(clipping) <= {"max_norm", "norm_type"}
            and min(clipping.values()) > 0
        ),
        "clip_grad_norm must be null or {max_norm: a number above 0}",
        clipping,
    )
    for name, kind in _OPTIONAL.items():
        value = values.get(name)
        rule = f"{name} must be null or {'a list' if kind is list else 'a mapping'}"
        found += require(value is None or isinstance(value, kind), rule, value)
    if values.get("log_wandb") is True:
        there = importlib.util.find_spec("wandb") is not None
        found += require(there, "log_wandb must be false without the package wandb", True)
    kept = values.get("rm_dup_inter")
    return found + require(
        kept in (None, "first", "last"), "rm_dup_inter must be null, first or last", kept
    )


_NUMBER = r"\s*[-+]?(inf|\d+(\.\d*)?([eE][-+]?\d+)?)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]{_NUMBER},{_NUMBER}[\])]\s*")


def _wrong_intervals(values: dict[str, Any]) -> list[str]:
    """RecBole leaves out an interval that it cannot read, with a warning."""
    given = {
        name: values.get(name) for name in ("user_inter_num_interval", "item_inter_num_interval")
    }
    columns = values.get("val_interval")
    if not isinstance(columns, (dict, type(None))):
        return [f"val_interval must map columns to intervals, got {columns!r}"]
    given |= {
        f"val_interval.{name}": interval
        for name, interval in (columns or {}).items()
        if not isinstance(interval, list)
    }
    return [
        f"{name} must be intervals such as '[5,inf)', parted by ';', got {interval!r}"
        for name, interval in given.items()
        if interval is not None
        and not (isinstance(interval, str) and all(map(_INTERVAL.fullmatch, interval.split(";"))))
    ]


def _wrong_columns(values: dict[str, Any]) -> list[str]:
    """Every run needs users, items and times."""
    load = values["load_col"]
    if load is None:
        return []
    if not convert(load, dict[str, tuple[str, ...] | Literal["*"]])[0]:
        return [f"load_col must map files to lists of their columns, or be null, got {load!r}"]
    user, item = values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]
    needed = {"inter": (user, item, values["TIME_FIELD"]), "item": (item,), "user": (user,)}
    found = []
    for file, names in needed.items():
        given = load.get(file, [] if file == "inter" else "*")
        missing = [name for name in names if given != "*" and name not in given]
        if missing:
            found.append(f"load_col.{file} must name {', '.join(missing)} too, got {given!r}")
    return found


_SPLITS: dict[str, Any] = {
    "LS": Literal["valid_and_test", "valid_only", "test_only"],
    "RS": tuple[float, ...],
    "TS": tuple[float, ...],
}


def _wrong_split(values: dict[str, Any]) -> list[str]:
    """RecBole finds these mistakes only after it has read the data."""
    arguments = values["eval_args"]
    if not isinstance(arguments, dict):
        return [f"eval_args must be a mapping, got {arguments!r}"]
    found = [
        f"eval_args.{name} is unknown; it takes group_by, mode, order and split"
        for name in arguments
        if name not in ("group_by", "mode", "order", "split")
    ]
    order, split = arguments.get("order"), arguments.get("split")
    found += require(order == "TO", "eval_args.order must be TO (by time)", order)
    group_by = arguments.get("group_by", "user")
    found += require(
        group_by in ("user", "none", None), "eval_args.group_by must be user or none", group_by
    )
    found += require(
        _is_split(split),
        "eval_args.split must be LS with valid_and_test, valid_only or test_only, or RS or TS with "
        "three ratios",
        split,
    )
    return found


def _is_split(split: Any) -> bool:
    if not isinstance(split, dict) or len(split) != 1:
        return False
    kind, value = next(iter(split.items()))
    if kind not in _SPLITS or not convert(value, _SPLITS[kind])[0]:
        return False
    return kind == "LS" or (len(value) == 3 and min(value) >= 0 < sum(value))


def _wrong_metrics(values: dict[str, Any]) -> list[str]:
    metrics, cuts, chosen = values["metrics"], values["topk"], values["valid_metric"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    cuts = [cuts] if isinstance(cuts, int) else cuts
    named = bool(metrics) and convert(metrics, tuple[str, ...])[0]
    unknown = [name for name in metrics if name.lower() not in metrics_dict] if named else []
    found = require(named, "metrics must be names", metrics)
    found += require(
        not unknown, f"metrics must be of {', '.join(sorted(metrics_dict))}", ", ".join(unknown)
    )
    found += require(
        bool(cuts) and convert(cuts, tuple[int, ...])[0], "topk must be whole numbers", cuts
    )
    found += require(
        isinstance(chosen, str), "valid_metric must be a metric at a cut-off, as NDCG@10", chosen
    )
    if found:
        return found
    names = {f"{metric}@{cut}".lower() for metric in metrics for cut in cuts}
    names |= {metric.lower() for metric in metrics} & _WITHOUT_CUT_OFF
    return require(
        chosen.lower() in names,
        f"valid_metric must be one of metrics at one of topk, as {metrics[0]}@{cuts[0]}",
        chosen,
    )
