"""What RecBole's own settings may be: found before a run starts, where RecBole fails late."""

import importlib.util
import re
from collections.abc import Callable
from typing import Any, Literal

from recbole_hm4sr.config.evaluation_rules import wrong_metrics, wrong_split
from recbole_hm4sr.config.settings import convert, require, type_in_words
from recbole_hm4sr.config.yaml_limits import are_intervals

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
    "same_visit_gap",
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
    "metric_decimal_place": ("must be from 1 to 17", lambda value: 1 <= value <= 17),
    "worker": ("must be from 0 to 1024", lambda value: 0 <= value <= 1024),
    "field_separator": ("must be a tab", lambda value: value == "\t"),
    "seq_separator": ("must be a space", lambda value: value == " "),
}


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
        + wrong_split(values)
        + wrong_metrics(values)
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
            expected = "a list" if kind is list else type_in_words(kind)
            found.append(f"{name} must be {expected}, got {value!r}")
            continue
        rule, holds = _RANGES.get(name) or _range_by_name(name, default)
        if not holds(value):
            found.append(f"{name} {rule}, got {value!r}")
    return found + _wrong_heads(values, own)


def _range_by_name(name: str, default: Any) -> tuple[str, Callable[[Any], bool]]:
    """The range of a setting of RecBole's models, whose names tell what they are."""
    if name.endswith("_prob"):
        return "must be in [0, 1]", lambda value: 0 <= value <= 1
    if type(default) is int and default >= 1 and name.endswith(("_size", "_heads")):
        return "must be 1 or more", lambda value: value >= 1
    return "", lambda _: True


def _wrong_heads(values: dict[str, Any], own: set[str]) -> list[str]:
    size, heads = values.get("hidden_size"), values.get("n_heads")
    if "n_heads" in own or not isinstance(size, int) or not isinstance(heads, int) or heads < 1:
        return []
    return require(size % heads == 0, f"hidden_size must be a multiple of n_heads ({heads})", size)


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
# RecBole's sparse_adam takes sparse gradients alone, which no sequential model has.
_LEARNERS = ("adagrad", "adam", "adamw", "rmsprop", "sgd")
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")


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
    transform = values.get("transform")
    found += require(
        transform is None or transform in _TRANSFORMS,
        f"transform must be null or one of {', '.join(_TRANSFORMS)}",
        transform,
    )
    found += require(
        values.get("repeatable") is not False,
        "repeatable must be true: a sequential model may rank what a user has taken",
        False,
    )
    gpu = str(values.get("gpu_id", ""))
    found += require(
        re.fullmatch(r"\s*\d*\s*(,.*)?", gpu) is not None,
        "gpu_id must be the number of a GPU, or empty",
        values.get("gpu_id"),
    )
    if values.get("log_wandb") is True:
        there = importlib.util.find_spec("wandb") is not None
        found += require(there, "log_wandb must be false without the package wandb", True)
    kept = values.get("rm_dup_inter")
    return found + require(
        kept in (None, "first", "last"), "rm_dup_inter must be null, first or last", kept
    )


INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")


def _wrong_intervals(values: dict[str, Any]) -> list[str]:
    """RecBole leaves out an interval that it cannot read, with a warning."""
    given = {name: values.get(name) for name in INTERVALS}
    columns = values.get("val_interval")
    if not isinstance(columns, (dict, type(None))):
        return [f"val_interval must map columns to intervals, got {columns!r}"]
    given |= {
        f"val_interval.{name}": interval
        for name, interval in (columns or {}).items()
        if not isinstance(interval, list)
    }
    return [
        f"{name} must be intervals such as '[5,inf)', separated by ';', got {interval!r}"
        for name, interval in given.items()
        if interval is not None and not (isinstance(interval, str) and are_intervals(interval))
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
