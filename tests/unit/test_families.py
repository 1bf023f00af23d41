"""A model is known by name in its family alone: elsewhere it is asked what it can do."""

import ast
import re
from pathlib import Path

import pytest

import recbole_hm4sr
from recbole_hm4sr.model.registry import MODELS, model_names

PACKAGE = Path(recbole_hm4sr.__file__).parent
FAMILIES = {path.name for path in (PACKAGE / "model").iterdir() if path.is_dir()}
OUTSIDE = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("model", "testing")
)
NAMES = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, model_names()))})(?![\w-])")


def texts_of(tree):
    """All names and texts of the code but the docstrings."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_model_is_named(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [(line, text) for line, text in texts_of(tree) if NAMES.search(text)] == []


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_family_is_imported(path):
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"recbole_hm4sr\.model\.(\w+)", text)
    assert set(imported) & FAMILIES == set()


def test_every_model_lives_in_a_family():
    families = {entry.module.split(".")[2] for entry in MODELS.values()}
    assert families <= FAMILIES
