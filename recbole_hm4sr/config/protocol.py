"""What RecBole's own settings may be: found before a run starts, where RecBole fails late."""

from collections.abc import Callable
from typing import Any, Literal

from recbole_hm4sr.config.evaluation_rules import wrong_metrics, wrong_split
from recbole_hm4sr.config.fields import Many, fits, type_in_words
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import DataSettings, RunSettings, build_settings, require
from recbole_hm4sr.config.yaml_limits import are_intervals

# What makes runs comparable: the same for all models of a comparison and all trials of a search.
PROTOCOL = tuple(
    sorted(
        name
        for cls in (RecBoleSettings, DataSettings, RunSettings)
        for name in cls.names_with("protocol")
    )
)


def wrong_recbole_values(
    values: dict[str, Any], defaults: dict[str, Any], own: set[str]
) -> list[str]:
    """What is wrong with the values of RecBole's settings, a sentence each.

    Args:
        values: All settings.
        defaults: RecBole's defaults, whose types the values must have.
        own: Names that this package's settings classes check.
    """
    return (
        build_settings(values, RecBoleSettings)[1]
        + _wrong_model_values(values, defaults, own)
        + _wrong_intervals(values)
        + _wrong_columns(values)
        + wrong_split(values)
        + wrong_metrics(values)
    )


def _wrong_model_values(
    values: dict[str, Any], defaults: dict[str, Any], own: set[str]
) -> list[str]:
    """The types of RecBole's defaults, and ranges by name: settings of RecBole's models."""
    found = []
    for name, default in defaults.items():
        value = values.get(name, default)
        if name in own or name in RecBoleSettings.model_fields or default is None:
            continue
        if isinstance(default, dict) or (
            isinstance(default, str) and isinstance(value, int | None)
        ):
            continue
        kind = _kind_by_name(name, default)
        if not fits(value, kind):
            found.append(f"{name} must be {type_in_words(kind)}, got {value!r}")
            continue
        words, holds = _range_by_name(name, default)
        if not holds(value):
            found.append(f"{name} must be {words}, got {value!r}")
    return found + _wrong_heads(values, own)


def by_default_in_words(name: str, default: Any) -> str:
    """Type and range of a setting of RecBole's models, as far as its default tells them."""
    if default is None:
        return ""
    words = (type_in_words(_kind_by_name(name, default)), _range_by_name(name, default)[0])
    return ", ".join(filter(None, words))


def _kind_by_name(name: str, default: Any) -> Any:
    if type(default) is int and name.endswith(("_prob", "_ratio")):
        return float
    if isinstance(default, list):
        return list[Any]
    return dict[str, Any] if isinstance(default, dict) else type(default)


def _range_by_name(name: str, default: Any) -> tuple[str, Callable[[Any], bool]]:
    """The range of a setting of RecBole's models, whose names tell what they are."""
    if name.endswith("_prob"):
        return "in [0, 1]", lambda value: 0 <= value <= 1
    if name in ("n_layers", "num_layers"):
        return "from 0 to 1000", lambda value: 0 <= value <= 1000
    if type(default) is int and default >= 1 and name.endswith(("_size", "_heads")):
        return "1 or more", lambda value: value >= 1
    return "", lambda _: True


def _wrong_heads(values: dict[str, Any], own: set[str]) -> list[str]:
    size, heads = values.get("hidden_size"), values.get("n_heads")
    if "n_heads" in own or not isinstance(size, int) or not isinstance(heads, int) or heads < 1:
        return []
    return require(size % heads == 0, f"hidden_size must be a multiple of n_heads ({heads})", size)


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
    if not fits(load, dict[str, Many[str] | Literal["*"]]):
        return [f"load_col must map files to lists of their columns, or be null, got {load!r}"]
    user, item = values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]
    if not fits([user, item, values["TIME_FIELD"]], Many[str]):
        return []
    needed = {"inter": (user, item, values["TIME_FIELD"]), "item": (item,), "user": (user,)}
    found = []
    for file, names in needed.items():
        given = load.get(file, [] if file == "inter" else "*")
        missing = [name for name in names if given != "*" and name not in given]
        if missing:
            found.append(f"load_col.{file} must name {', '.join(missing)} too, got {given!r}")
    return found
