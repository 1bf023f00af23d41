"""Every setting is read by code: one that is read nowhere promises nothing."""

import ast
import functools
import inspect
import sys
from pathlib import Path

import pytest
import recbole

import recbole_hm4sr
from recbole_hm4sr.config.compose import dataset_atomic_dir, properties_dir, read_yaml
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import DataSettings, RunSettings
from recbole_hm4sr.data import views
from recbole_hm4sr.model import memory
from recbole_hm4sr.model.memory_settings import MemorySettings
from recbole_hm4sr.model.registry import MODELS, find_model

PACKAGE, RECBOLE = (Path(module.__file__).parent for module in (recbole_hm4sr, recbole))
# RecBole's code that a run of this package passes through: not its quick_start.
# RecBole puts these names together, or reads them for logs that a run here does not open.
READ_OTHERWISE = {f"alias_of_{kind}_id" for kind in ("user", "item", "entity", "relation")}
OF_RECBOLE = ("config", "data", "evaluator", "sampler", "trainer")


def items_read(tree):
    """Names in ``x["name"]`` and ``x.get("name")``, where they are not assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            name = node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            name = node.args[0]
        else:
            continue
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def attributes_read(tree):
    """Names in ``x.name``, where they are not assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr


def used_by_its_class(tree):
    """Names that a class of settings reads as ``self.name``; validators have no ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            yield node.attr


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def of_files(read, paths):
    return {name for path in paths for name in read(parsed(path))}


@functools.cache
def read_by_the_package():
    """From the configuration by name, or as a field of a class of settings."""
    files = sorted(PACKAGE.rglob("*.py"))
    fields = {*DataSettings.names(), *RunSettings.names()}
    return of_files(items_read, files) | (of_files(attributes_read, files) & fields)


@functools.cache
def read_by_recbole():
    return of_files(
        items_read, [path for part in OF_RECBOLE for path in (RECBOLE / part).rglob("*.py")]
    )


def read_by_the_model(name):
    """Read where the model is built: by its classes, or as a field of its settings."""
    entry = find_model(name)
    files = {
        Path(sys.modules[cls.__module__].__file__)
        for cls in entry.model_class.__mro__[:-1]
        if cls.__module__.startswith("recbole")
    }
    of_memory = entry.settings_class is not None and issubclass(
        entry.settings_class, MemorySettings
    )
    if of_memory:  # they are handed on
        files.add(Path(memory.__file__))
    if any("data.views import" in path.read_text(encoding="utf-8") for path in files):
        files.add(Path(views.__file__))  # they are handed on as rules
    found = of_files(items_read, files)
    if entry.settings_class is not None:
        fields = set(entry.settings_class.names())
        found |= of_files(attributes_read, files) & fields
        bases = [
            Path(inspect.getfile(cls))
            for cls in entry.settings_class.__mro__
            if cls.__module__.startswith("recbole_hm4sr")
        ]
        found |= of_files(used_by_its_class, bases) & fields
    return found


def names(path):
    return sorted(read_yaml(path))


def test_every_setting_of_a_run_is_read():
    known = {*names(properties_dir() / "overall.yaml"), *DataSettings.names(), *RunSettings.names()}
    known |= set(RecBoleSettings.names()) - set(RecBoleSettings.refused())
    unread = known - read_by_the_package() - read_by_recbole()
    assert unread == READ_OTHERWISE


WITH_SETTINGS = {*MODELS, *(path.stem for path in (properties_dir() / "model").glob("*.yaml"))}


@pytest.mark.parametrize("model", sorted(WITH_SETTINGS))
def test_every_setting_of_a_model_is_read(model):
    path, cls = properties_dir() / "model" / f"{model}.yaml", find_model(model).settings_class
    known = {*(names(path) if path.is_file() else ()), *(cls.names() if cls else ())}
    unread = known - read_by_the_model(model) - read_by_the_package() - read_by_recbole()
    assert unread == set()


FILES = [*(properties_dir() / "dataset").glob("*.yaml"), *dataset_atomic_dir().glob("*/*.yaml")]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda p: p.stem)
def test_every_setting_of_a_data_set_is_read(path):
    unread = set(names(path)) - read_by_the_package() - read_by_recbole()
    assert unread == set()
