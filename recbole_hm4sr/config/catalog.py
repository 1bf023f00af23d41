"""All settings of a model, as they are shown: value, type and range in words, sentence."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.plugins import plugin_settings
from recbole_hm4sr.base.recbole_files import properties_folder
from recbole_hm4sr.config.compose import compose_settings, read_yaml
from recbole_hm4sr.config.fields import field_in_words
from recbole_hm4sr.config.protocol import by_default_in_words
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import DataSettings, RunSettings, Settings

# RecBole writes "name: value  # (type) sentence", and "# name (type): sentence" where it is long.
_COMMENTS = (
    re.compile(r"^(\w+):.*?\s#\s*(?:\([^)]*\)\s*)?(.+?)\s*$", re.MULTILINE),
    re.compile(r"^# (\w+) \([^)]*\): (.+?)\s*$", re.MULTILINE),
)


@dataclass(frozen=True)
class SettingLine:
    """A setting as it is shown.

    Attributes:
        name: Its name, which is its flag too.
        value: What it is unless a user or a data set sets it.
        kind: Its type and range in words; empty if nothing tells.
        sentence: What it is; empty if nothing tells.
    """

    name: str
    value: Any
    kind: str
    sentence: str


def settings_of(model: str, settings_class: type[Settings] | None) -> dict[str, list[SettingLine]]:
    """The settings of a model, of data sets and of runs, by group.

    Args:
        model: Name of the model.
        settings_class: The class of its settings, if it has one.
    """
    # No data set has a space in its name.
    values, _ = compose_settings(
        model, "no data set", settings_class=settings_class, needs_data=False
    )
    values["data_path"] = None
    of_model = _declared(settings_class, values) if settings_class else []
    known = {line.name for line in of_model} | set(RecBoleSettings.names())
    of_model += [line for line in _by_default(model, values) if line.name not in known]
    return {
        model: of_model,
        "data set": _declared(DataSettings, values),
        "run": _declared(RunSettings, values),
        "RecBole": _declared(RecBoleSettings, values),
    }


def _declared(cls: type[Settings], values: dict[str, Any]) -> list[SettingLine]:
    refused = cls.refused()
    return [
        SettingLine(name, values[name], field_in_words(field), field.description or "")
        for name, field in cls.model_fields.items()
        if name not in refused
    ]


def _by_default(model: str, values: dict[str, Any]) -> list[SettingLine]:
    """What the model's file of RecBole or of another package sets."""
    of_recbole = properties_folder() / "model" / f"{model}.yaml"
    path: Path | None = plugin_settings(model) or of_recbole
    if path is None or not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    sentences = dict(pair for comment in _COMMENTS for pair in comment.findall(text))
    return [
        SettingLine(name, values[name], by_default_in_words(name, default), sentences.get(name, ""))
        for name, default in read_yaml(path).items()
    ]
