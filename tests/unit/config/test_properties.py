"""Every setting of ``properties/`` is read by code: one that is read nowhere promises nothing."""

import ast
import dataclasses
import functools
import inspect
import sys
from pathlib import Path

import pytest
import recbole

import recbole_hm4sr
from recbole_hm4sr.config.compose import dataset_atomic_dir, properties_dir, read_yaml
from recbole_hm4sr.config.settings import DataSettings, RunSettings
from recbole_hm4sr.model.registry import find_model

PACKAGE, RECBOLE = (Path(module.__file__).parent for module in (recbole_hm4sr, recbole))
# RecBole's code that a run of this package passes through: not its quick_start.
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
    """Names that a class of settings reads itself or hands on by ``getattr``, besides checks."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name == "problems":
            continue
        yield from attributes_read(node)
        parts = list(ast.walk(node))
        if any(isinstance(part, ast.Name) and part.id == "getattr" for part in parts):
            yield from (part.value for part in parts if isinstance(part, ast.Constant))


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def of_files(read, paths):
    return {name for path in paths for name in read(parsed(path))}


@functools.cache
def read_by_the_package():
    """From the configuration by name, or as a field of a class of settings."""
    files = sorted(PACKAGE.rglob("*.py"))
    fields = {
        field.name for cls in (DataSettings, RunSettings) for field in dataclasses.fields(cls)
    }
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
    found = of_files(items_read, files)
    if entry.settings_class is not None:
        fields = {field.name for field in dataclasses.fields(entry.settings_class)}
        found |= of_files(attributes_read, files) & fields
        bases = [Path(inspect.getfile(cls)) for cls in entry.settings_class.__mro__[:-1]]
        found |= of_files(used_by_its_class, bases) & fields
    return found


def names(path):
    return sorted(read_yaml(path))


def test_every_setting_of_a_run_is_read():
    unread = (
        set(names(properties_dir() / "overall.yaml")) - read_by_the_package() - read_by_recbole()
    )
    assert unread == set()


@pytest.mark.parametrize(
    "path", sorted((properties_dir() / "model").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_setting_of_a_model_is_read(path):
    unread = (
        set(names(path)) - read_by_the_model(path.stem) - read_by_the_package() - read_by_recbole()
    )
    assert unread == set()


FILES = [*(properties_dir() / "dataset").glob("*.yaml"), *dataset_atomic_dir().glob("*/*.yaml")]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda p: p.stem)
def test_every_setting_of_a_data_set_is_read(path):
    unread = set(names(path)) - read_by_the_package() - read_by_recbole()
    assert unread == set()
