"""What each model is, read from its source without importing it: torch takes seconds."""

import ast
import importlib.util
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from recbole_hm4sr.base import recbole_files
from recbole_hm4sr.base.plugins import plugin_modules
from recbole_hm4sr.model.registry import MODELS

_REFERENCE = re.compile(r"^\s*Reference:?\s*$\n(.+?)(?:\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
# How RecBole's models name the columns of items that they read.
_ATTRIBUTES = re.compile(r"""config\[["'](selected_features|item_attribute)["']\]""")


@dataclass(frozen=True)
class ModelCard:
    """A model in a line.

    Attributes:
        name: Its name.
        origin: ``this package``, ``RecBole``, or the module of another package.
        reads: What it reads besides items: ``times``, ``features``, ``categories``, or
            ``attributes`` for columns of the ``.item`` file; empty if its source says nothing.
        about: Its paper, or the first line of its module's docstring.
    """

    name: str
    origin: str
    reads: tuple[str, ...]
    about: str


def model_cards() -> list[ModelCard]:
    """All models that can run, this package's first, then RecBole's, then those of others."""
    of_recbole = recbole_files.sequential_models()
    own = [_card(name, "this package", entry.module) for name, entry in MODELS.items()]
    others = [
        _card(name, "RecBole", module)
        for name, module in sorted(of_recbole.items())
        if name not in MODELS
    ]
    return [*own, *others, *(_card(name, m, m) for name, m in plugin_modules().items())]


def _card(name: str, origin: str, module: str) -> ModelCard:
    text = _source(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in texts of RecBole
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            tree = ast.Module([], [])
    document = _document(tree, name)
    reads = _literal_reads(tree, name)
    if not reads and _ATTRIBUTES.search(text):
        reads = ("attributes",)
    return ModelCard(name, origin, reads, _about(document))


def _document(tree: ast.Module, name: str) -> str:
    """The docstring of a module; of a class in it where that names a paper of its own."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    own = (ast.get_docstring(classes[0]) if classes else None) or ""
    return own if _REFERENCE.search(own) else ast.get_docstring(tree) or ""


def _source(module: str) -> str:
    """The text of a module; empty if there is none. RecBole's packages would import torch."""
    package, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    paths = [Path(place, *rest.split(".")).with_suffix(".py") for place in places if rest]
    if spec is not None and spec.origin is not None:
        paths.append(Path(spec.origin))
    path = next((path for path in paths if path.is_file()), None)
    return path.read_text(encoding="utf-8", errors="replace") if path is not None else ""


def _literal_reads(tree: ast.Module, name: str) -> tuple[str, ...]:
    """The words of a class attribute ``reads``, in the order of the source."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            values = [it.value for it in node.body if _assigns_reads(it)]
            parts = [it for value in values for it in ast.walk(value)]
            words = [it.value for it in parts if isinstance(it, ast.Constant)]
            return tuple(word for word in words if isinstance(word, str))
    return ()


def _assigns_reads(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reads"


def _about(document: str) -> str:
    found = _REFERENCE.search(document)
    text = " ".join((found[1] if found else document.partition("\n")[0]).split())
    return text.rstrip(".")
