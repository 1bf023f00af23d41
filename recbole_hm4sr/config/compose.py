"""Settings: composed from YAML files and flags, and checked in one go.

The order of precedence, lowest first: RecBole's own defaults and those of the settings classes,
``properties/overall.yaml``, the model's YAML, the data set's YAML, the user's files, the user's
flags. The result is one RecBole ``Config``, so every RecBole class can be built from it. Nothing of
this package writes to it later (RecBole's transforms do); what the package's own code needs is read
once into frozen classes (``settings.py``).
"""

import copy
import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base import recbole_files
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.plugins import plugin_settings
from recbole_hm4sr.base.text_files import read_text
from recbole_hm4sr.config.catalogue_rules import wrong_candidates, wrong_catalogue
from recbole_hm4sr.config.loss_rules import LossFacts, wrong_losses
from recbole_hm4sr.config.memory_rules import wrong_memory
from recbole_hm4sr.config.protocol import INTERVALS, wrong_recbole_values
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.renamed import RENAMED, named_elsewhere
from recbole_hm4sr.config.settings import (
    DataSettings,
    RunSettings,
    Settings,
    build_settings,
    near_miss,
)
from recbole_hm4sr.config.shard_rules import wrong_shards
from recbole_hm4sr.config.yaml_limits import Loader, are_intervals, load_yaml

_PACKAGE = Path(__file__).resolve().parent.parent


def properties_dir() -> Path:
    """Directory of the default YAML files, in a checkout as in an installed wheel."""
    inside = _PACKAGE / "properties"
    return inside if inside.is_dir() else _PACKAGE.parent / "properties"


def dataset_atomic_dir() -> Path:
    """Directory of the data sets that travel with the package, in a checkout as in a wheel."""
    inside = _PACKAGE / "dataset_atomic"
    return inside if inside.is_dir() else _PACKAGE.parent / "dataset_atomic"


UNSUPPORTED = RecBoleSettings.refused()


def parse_value(text: str) -> Any:
    """A flag's value, read as YAML: ``0.001``, ``1e-3``, ``true``, ``[5, 10]``, ``{a: 1}``.

    RecBole's intervals, as ``[5,inf)``, are no YAML and are texts.

    Raises:
        ConfigError: If the text is not YAML.
    """
    if are_intervals(text) and re.search(r"[();]", text):  # not [5, 10]
        return text.strip()
    try:
        return load_yaml(text, Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"a flag's value must be YAML such as 0.001 or [5, 10], got {text!r}"
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A settings file as a dictionary; empty if the file holds nothing.

    Raises:
        ConfigError: If the file is missing, is not UTF-8 YAML, is not a mapping, or sets a name
            twice.
    """
    text = read_text(path, "the settings file", ConfigError)
    try:
        value = load_yaml(text, Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not a YAML document"
        if _holds_interval(text, where):
            problem += """; an interval needs quotation marks, as "[5,inf)\""""
        raise ConfigError(f"the settings file {path}{line} must be YAML: {problem}") from error
    except ValueError as error:
        raise ConfigError(f"the settings file {path} must be YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"the settings file {path} must hold lines of the form name: value")
    return value


def _holds_interval(text: str, where: yaml.Mark | None) -> bool:
    """Whether a line that is no YAML, or the one before it, holds an interval."""
    lines = text.splitlines()[max(where.line - 1, 0) : where.line + 1] if where else []
    return any(are_intervals(line.partition("#")[0].partition(":")[2]) for line in lines)


def _read_packaged(path: Path) -> dict[str, Any]:
    """A file that is installed, read once: settings are composed for every check and run."""
    return copy.deepcopy(_read_once(path, path.stat().st_mtime_ns))


@functools.cache
def _read_once(path: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001
    return read_yaml(path)


def recbole_defaults(model: str) -> dict[str, Any]:
    """RecBole's own defaults for a sequential model, lowest precedence of all.

    Those of a model of another package are the settings that it comes with. RecBole's general
    models do not run here: the file of one says nothing of a sequential model of the same name.
    """
    folder = recbole_files.properties_folder()
    values: dict[str, Any] = {}
    of_model = [f"model/{model}"] if model in recbole_files.sequential_models() else []
    for part in ("overall", *of_model, "dataset/sample", "quick_start_config/sequential"):
        path = folder / f"{part}.yaml"
        if path.is_file():
            values.update(_read_packaged(path))
    own = plugin_settings(model)
    return {**values, **(read_yaml(own) if own is not None else {})}


_N_NAMED = 10  # data sets in a sentence


def resolve_data_path(dataset: str, data_path: str | Path | None) -> Path:
    """The folder that holds a data set's atomic files.

    Looked for, in this order: ``<data_path>/<dataset>`` if the user set ``data_path``; else
    ``dataset_atomic/<dataset>`` in the working directory, in the package, and in RecBole's wheel.

    Raises:
        ConfigError: If none of them exists, or a value is no name of a folder.
    """
    if not re.fullmatch(r"[\w.-]+", dataset) or dataset.startswith("."):
        raise ConfigError(
            f"the data set's name must be the name of a folder (letters, digits, _, -, .), "
            f"got {dataset!r}"
        )
    if not isinstance(data_path, (str, Path, type(None))):
        raise ConfigError(f"data_path must be the folder above the data set, got {data_path!r}")
    if data_path is not None:
        places = [Path(data_path) / dataset]
    else:
        places = [Path.cwd() / "dataset_atomic" / dataset, dataset_atomic_dir() / dataset]
        bundled = recbole_files.bundled_dataset_folder(dataset)
        places += [bundled] if bundled else []
    places = list(dict.fromkeys(places))
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(
        f"the data set {dataset!r} must be a folder with atomic files, looked for it in "
        f"{', '.join(str(place.parent) for place in places)}; {_where_else(dataset, data_path)}"
    )


def _where_else(dataset: str, data_path: str | Path | None) -> str:
    """What to do about a data set that is not where it was looked for."""
    if data_path is None:
        known = [path.name for path in dataset_atomic_dir().iterdir() if path.is_dir()]
        near = difflib.get_close_matches(dataset, [*sorted(known), "ml-100k"], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{hint}name the folder above it with --data_path"
    folder = Path(data_path)
    if (folder / f"{dataset}.inter").is_file():
        return f"it lies there itself: name the folder above it, --data_path={folder.parent}"
    there = sorted(path.parent.name for path in folder.glob("*/*.inter"))[:_N_NAMED]
    if there:
        return f"there is {', '.join(there)}; name it with --dataset"
    return "name the folder above it with --data_path"


def compose_settings(
    model: str,
    dataset: str,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    settings_class: type[Settings] | None,
    needs_data: bool = True,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge all sources of settings; without data, nothing is looked for beside them.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        config_files: The user's YAML files, later ones win.
        overrides: The user's flags, parsed; they win over all files.
        settings_class: The class of the model's settings, if it has one.
        needs_data: False where the data set may be on another machine.

    Returns:
        The values, and for each name that a user's file or flag, or a file beside the data, sets,
        where it was set.
    """
    user: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for path in config_files:
        values = read_yaml(Path(path))
        user.update(values)
        origin.update(dict.fromkeys(values, str(path)))
    # RecBole completes some of the mappings it is given in place.
    user.update(copy.deepcopy(dict(overrides or {})))
    origin.update(dict.fromkeys(overrides or {}, "flag"))

    values = _packaged_settings(model, settings_class)
    if needs_data:
        folder = resolve_data_path(dataset, user.get("data_path"))
    else:
        folder = Path(user.get("data_path") or ".") / dataset
    own, beside = properties_dir() / "dataset" / f"{dataset}.yaml", folder / f"{dataset}.yaml"
    if own.is_file():
        values.update(read_yaml(own))
    if needs_data and beside.is_file():
        of_dataset = read_yaml(beside)
        values.update(of_dataset)
        origin = dict.fromkeys(of_dataset, str(beside)) | origin
    values.update(user)
    for name in INTERVALS:
        if isinstance(values.get(name), list):  # [5, 10], which is YAML as well
            values[name] = f"[{','.join(map(str, values[name]))}]".replace(".inf", "inf")
    values["data_path"] = str(folder)
    return values, origin


def _packaged_settings(model: str, settings_class: type[Settings] | None) -> dict[str, Any]:
    """What a model is run with unless a data set or a user says otherwise."""
    values = recbole_defaults(model)
    values.pop("data_path")
    for cls in _own_classes(settings_class):
        # Those of a model of another package are in its own file too, which wins.
        values = {**copy.deepcopy(cls.defaults()), **values}
    of_model = plugin_settings(model) or properties_dir() / "model" / f"{model}.yaml"
    for path in (properties_dir() / "overall.yaml", of_model):
        if path.is_file():
            values.update(_read_packaged(path))
    return values


def _own_classes(settings_class: type[Settings] | None) -> list[type[Settings]]:
    return [DataSettings, RunSettings, *([settings_class] if settings_class else [])]


def check_settings(
    model: str,
    dataset: str,
    *,
    settings_class: type[Settings] | None = None,
    losses: LossFacts | None = None,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    needs_data: bool = True,
) -> dict[str, Any]:
    """Compose and check the settings of one run, without importing torch or RecBole.

    Args:
        model: Name of the model.
        dataset: Name of the data set: its folder, and the stem of its files.
        settings_class: The class of the model's settings, if it has one.
        losses: What is known of the model's loss; None: it is not checked.
        config_files: The user's YAML files, later ones win.
        overrides: The user's flags, parsed; they win over all files.
        needs_data: False where the data set may be on another machine.

    Returns:
        All settings by name.

    Raises:
        ConfigError: If a name is unknown, or a value is missing or wrong; one error for all.
    """
    values, origin = compose_settings(
        model,
        dataset,
        config_files,
        overrides,
        settings_class=settings_class,
        needs_data=needs_data,
    )
    classes = _own_classes(settings_class)
    own = {name for cls in classes for name in cls.names()}
    defaults = recbole_defaults(model)
    flags_only = {name for cls in classes for name in cls.names_with("flag only")}
    found = _unknown_names(values, known_settings(model, settings_class), flags_only, origin)
    found += wrong_recbole_values(values, defaults, own)
    if losses is not None:
        found += wrong_losses(model, losses, values)
    for cls in classes:
        found += build_settings(values, cls)[1]
    found += wrong_memory(values)
    found += wrong_catalogue(model, settings_class, values)
    found = found or wrong_candidates(values) + wrong_shards(model, settings_class, values)
    if found:
        raise ConfigError("; ".join(found))
    return values


def known_settings(model: str, settings_class: type[Settings] | None) -> set[str]:
    """Names of all settings that a model's runs have.

    Args:
        model: Name of the model.
        settings_class: The class of the model's settings, if it has one.
    """
    own = {name for cls in _own_classes(settings_class) for name in cls.names()}
    return own | set(recbole_defaults(model))


def _unknown_names(
    values: dict[str, Any], known: set[str], flags_only: set[str], origin: dict[str, str]
) -> list[str]:
    found = []
    for name in values:
        where = f" ({origin[name]})" if name in origin else ""
        if name in origin and name in UNSUPPORTED:
            found.append(f"{name}{where} is not supported here: {UNSUPPORTED[name]}")
        elif name in flags_only and origin.get(name, "flag") != "flag" and values[name]:
            found.append(f"{name}{where} must be given as a flag, since it names a place to write")
        elif name not in known and name in RENAMED:
            found.append(f"the setting {name!r}{where} is now called {RENAMED[name]!r}")
        elif name not in known:
            hint = named_elsewhere(name, known) or near_miss(name, known)
            found.append(f"the setting {name!r}{where} is unknown{hint}")
    return found
