"""The pages of docs/reference that are written from the code; docs/generate.py writes them.

Nothing here imports torch: commands come from typer, settings from their classes, the Python
interface from the text of its modules.
"""

import ast
import importlib.util
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import recbole_hm4sr
from recbole_hm4sr.base.recbole_files import sequential_models
from recbole_hm4sr.cli import app
from recbole_hm4sr.config.catalog import SettingLine, settings_of
from recbole_hm4sr.model.registry import DEFAULT_MODEL, MODELS, find_model

_NOTE = "<!-- Written by docs/generate.py from the code. -->"
_LISTS = ("Args", "Attributes", "Raises")
_SECTION = re.compile(r"^([A-Z][\w' ]*):$")
_ENTRY = re.compile(r"^ {4}([\w*, ]+?)(?: \([^)]*\))?: (.*)$")
_MATH_ROLE = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")

# The names of the top level that belong together; a name in none of these is in the last part.
_PARTS = {
    "Prepare": ("prepare",),
    "Run": ("run", "resume", "evaluate", "RunResult", "Metrics", "report_run"),
    "Compare and tune": ("compare", "tune", "Plan"),
    "Recommend": ("Recommender", "HubMixin", "Recommendations", "refresh", "update", "replay"),
    "Write a model": ("PackedRecommender", "ModelContract", "ClosedFormContract"),
}
# What users meet that the top level does not name: its module.
_BESIDES = {
    "HubMixin": "recbole_hm4sr.serve.hub",
    "Metrics": "recbole_hm4sr.run.results",
    "Plan": "recbole_hm4sr.tune.command",
    "Recommendations": "recbole_hm4sr.serve.recommendations",
    "ModelContract": "recbole_hm4sr.testing.contract",
    "ClosedFormContract": "recbole_hm4sr.testing.contract",
}


def pages() -> dict[str, str]:
    """All pages of the reference, as Markdown: path below ``docs`` to text."""
    return {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/recbole-models.md": recbole_models_page(),
        "reference/python.md": python_page(),
    }


# --- settings -------------------------------------------------------------------------------------


def settings_table(lines: Iterable[SettingLine]) -> str:
    """A table of settings: name, default, values, meaning."""
    rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    for line in lines:
        rows.append(_row(f"`{line.name}`", f"`{json.dumps(line.value)}`", line.kind, line.sentence))
    return "\n".join(rows)


def _row(*cells: str) -> str:
    """A row; what would be a tag of HTML or the end of a cell is escaped."""
    texts = [cell if cell.startswith("`") else cell.replace("<", "&lt;") for cell in cells]
    return f"| {' | '.join(text.replace('|', '&#124;') for text in texts)} |"


def settings_page() -> str:
    """Settings of data sets and of runs, which all models share."""
    groups = settings_of(DEFAULT_MODEL, find_model(DEFAULT_MODEL).settings_class)
    titles = {"data set": "Data sets", "run": "Runs", "RecBole": "RecBole's own"}
    parts = [
        "# Settings",
        _NOTE,
        "Every setting is a flag (`--learning_rate=0.001`) and a line of a YAML file. A name that "
        "no setting has is refused, with the nearest one; so is a value out of range.\n\n"
        "The settings of a model are on its page. `hm4sr settings MODEL` prints all of them with "
        f"the defaults of that model. The defaults below are those of {DEFAULT_MODEL}.",
    ]
    for group, title in titles.items():
        parts += [f"## {title}", settings_table(groups[group])]
    return "\n\n".join(parts) + "\n"


def recbole_models_page() -> str:
    """The settings of RecBole's sequential models."""
    parts = [
        "# RecBole's sequential models",
        _NOTE,
        "They run in all commands beside the models of this package, on the same data, splits and "
        "evaluator. Their settings and defaults come from RecBole's files, with what "
        "`properties/` changes. A flag takes a value of the type of the default.",
    ]
    for name in sorted(sequential_models(), key=str.lower):
        if name in MODELS:
            continue
        group = settings_of(name, find_model(name).settings_class)[name]
        parts += [f"## {name}", settings_table(group) if group else "No setting of its own."]
    return "\n\n".join(parts) + "\n"


# --- commands -------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its options, as typer knows them."""
    parts = [
        "# Commands",
        _NOTE,
        "`hm4sr COMMAND --help` prints the same. `python run_hm4sr.py` in a checkout is "
        "`hm4sr train`. A wrong input of any kind is one sentence on standard error and exit "
        "code 2.",
    ]
    for name, command in _commands(typer.main.get_command(app), "hm4sr"):
        parts += [f"## {name}", _plain(command.help or "")]
        table = _options(command.params)
        if command.context_settings.get("ignore_unknown_options"):
            parts.append("Any [setting](settings.md) is a flag of this command too.")
        parts += [table] * bool(table)
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word in inner:
        yield from _commands(inner[word], f"{name} {word}")


def _options(params: Iterable[Any]) -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for param in params:
        if param.param_type_name == "argument":
            name = param.name.upper() + (" ..." if param.nargs == -1 else "")
        else:
            name = " / ".join([*param.opts, *param.secondary_opts])
        rows.append(_row(f"`{name}`", _default(param), getattr(param, "help", "") or ""))
    return "\n".join(rows) if len(rows) > 2 else ""


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if isinstance(param.default, bool):
        if param.secondary_opts:
            return f"`{(param.opts if param.default else param.secondary_opts)[0]}`"
        return ""
    given = isinstance(param.default, (str, int, float)) and param.default != ""
    return f"`{param.default}`" if given else ""


# --- Python ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Named:
    """Something that users import: the name they use, and its definition."""

    name: str
    module: str
    node: ast.ClassDef | ast.FunctionDef


def python_page() -> str:
    """The names of the top level, and what they give."""
    parts = [
        "# Python",
        _NOTE,
        "`import recbole_hm4sr` costs nothing: torch and RecBole are imported when a name is used "
        "that needs them.",
    ]
    modules = {**_top_level(), **{name: (path, name) for name, path in _BESIDES.items()}}
    named = {name for names in _PARTS.values() for name in names}
    rest = tuple(name for name in modules if name not in named)
    for title, names in {**_PARTS, "More": rest}.items():
        parts += [f"## {title}"] * bool(names)
        for name in names:
            if name in modules:
                parts += _entry(_find(name, *modules[name]))
    parts += ["## Errors", _errors()]
    return "\n\n".join(parts) + "\n"


def _top_level() -> dict[str, tuple[str, str]]:
    """The names of the package: where each is defined, and how it is called there."""
    tree = ast.parse(inspect.getsource(recbole_hm4sr))
    found = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recbole_hm4sr.")
        for alias in node.names
    }
    names = set(recbole_hm4sr.__all__) - {"UserError"}
    return {name: found[name] for name in found if name in names}


def _find(name: str, module: str, original: str) -> _Named:
    """The definition of a name; a module that imports it says where that is."""
    tree = ast.parse(_source(module))
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == original:
            return _Named(name, module, node)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == original:
                    return _find(name, node.module or "", alias.name)
    raise LookupError(f"{module} has no {original}")


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _entry(named: _Named) -> list[str]:
    top = named.name in recbole_hm4sr.__all__
    title = f"recbole_hm4sr.{named.name}" if top else f"{named.module}.{named.name}"
    parts = [f"### {title}"]
    if isinstance(named.node, ast.FunctionDef):
        return [*parts, _signature(named.node, named.name), _google(named.node)]
    parts.append(_google(named.node))
    for node in named.node.body:
        is_public = isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "test_"))
        if is_public and ast.get_docstring(node):
            assert isinstance(node, ast.FunctionDef)
            kind = {ast.unparse(it) for it in node.decorator_list}
            if "pytest.fixture" not in " ".join(kind):
                parts += [f"#### {named.name}.{node.name}", _member(node, kind), _google(node)]
    return parts


def _member(node: ast.FunctionDef, kind: set[str]) -> str:
    if "property" in kind or "functools.cached_property" in kind:
        returns = _unquoted(node.returns)
        return f"A property, `{ast.unparse(returns)}`." if returns is not None else "A property."
    return _signature(node, node.name)


def _signature(node: ast.FunctionDef, name: str) -> str:
    """How it is called, an argument a line where it is long."""
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = _unquoted(argument.annotation)
    arguments = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    returns = _unquoted(node.returns)
    end = f") -> {ast.unparse(returns)}" if returns is not None else ")"
    line = f"{name}({arguments}{end}"
    if len(line) > 88:
        inner = re.split(r", (?![^\[(]*[\])])", arguments)
        line = f"{name}(\n    " + ",\n    ".join(inner) + f",\n{end}"
    return f"```python\n{line}\n```"


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    """An annotation that is written as a text, without its quotation marks."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _errors() -> str:
    """The errors of the package, a row each."""
    rows = ["| error | of | when |", "|---|---|---|"]
    for node in ast.parse(_source("recbole_hm4sr.base.errors")).body:
        if isinstance(node, ast.ClassDef):
            parents = ", ".join(ast.unparse(base) for base in node.bases)
            first = (ast.get_docstring(node) or "").partition("\n\n")[0]
            rows.append(_row(f"`{node.name}`", f"`{parents}`", _plain(first)))
    return "They are in `recbole_hm4sr.base.errors`.\n\n" + "\n".join(rows)


# --- docstrings -----------------------------------------------------------------------------------


def _google(node: ast.ClassDef | ast.FunctionDef) -> str:
    """A docstring in Google's style as Markdown: sections in bold, their entries as a list."""
    lines: list[str] = []
    section = ""
    for line in (ast.get_docstring(node) or "").splitlines():
        found = _SECTION.match(line)
        entry = _ENTRY.match(line) if section in _LISTS else None
        if found is not None:
            section = found[1]
            lines += ["", f"**{section}**", ""]
        elif entry is not None:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif line and not line.startswith(" "):
            section = ""
            lines.append(line)
        else:
            lines.append(f"  {line.strip()}" if section in _LISTS and line else line.strip())
    return _plain("\n".join(lines))


def inline(text: str) -> str:
    """Code, formulas and other roles of reStructuredText as MkDocs and GitHub show them."""
    text = _MATH_ROLE.sub(lambda found: f"${' '.join(found[1].split())}$", text)
    return _ROLE.sub(r"`\1`", text.replace("``", "`"))


def _plain(text: str) -> str:
    """The same, and examples of a prompt as blocks."""
    text = inline(text)
    text = re.sub(r"((?:^[ ]*(?:>>>|\.\.\.) .*\n?)+)", r"\n```python\n\1```\n", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
