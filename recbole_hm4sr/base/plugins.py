"""Models of other packages: a package that is installed names them by an entry point.

The name of the entry point is the model's, in every command and in the folders of its runs. Nothing
that a run's folder holds is imported: what is installed decides what a name means.

See the packaging guide, https://packaging.python.org/specifications/entry-points.
"""

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError

GROUP = "recbole_hm4sr.models"


def plugin_names() -> list[str]:
    """Names of the models that installed packages bring, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def plugin_modules() -> dict[str, str]:
    """The modules that hold these models, by name; nothing is imported."""
    modules = {point.name: point.module for point in entry_points(group=GROUP)}
    return dict(sorted(modules.items()))


def load_plugin(name: str) -> Any:
    """The class of a model.

    Raises:
        ConfigError: If it cannot be imported, two packages bring it, or its name is another.
    """
    point = _point(name)
    assert point is not None
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(
            f"the model {name} of {_package(point)} must be importable as {point.value}, but: "
            f"{type(error).__name__}: {error}"
        ) from error
    if getattr(found, "__name__", None) != name:
        raise ConfigError(
            f"the entry point of {_package(point)} must have the name of its class, got {name} for "
            f"{point.value}"
        )
    return found


def plugin_settings(name: str) -> Path | None:
    """The YAML of a model's settings: ``<Model>.yaml`` beside its module; None if there is none."""
    point = _point(name)
    if point is None:
        return None
    try:
        spec = importlib.util.find_spec(point.module)
    except (ImportError, ValueError):
        return None  # load_plugin says what is wrong
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(f"{name}.yaml")
    return path if path.is_file() else None


def plugin_version(name: str) -> dict[str, str]:
    """The package that brings a model, and its version; empty for the models of others."""
    point = _point(name)
    if point is None or point.dist is None:
        return {}
    return {point.dist.name: point.dist.version}


def _point(name: str) -> EntryPoint | None:
    found = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        raise ConfigError(
            f"one package must bring the model {name}, but these do: "
            f"{', '.join(sorted(map(_package, found.values())))}"
        )
    return next(iter(found.values()), None)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module
