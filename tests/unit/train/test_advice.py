"""What a sentence advises can be typed: its commands and flags are those of the command line."""

import ast
import re
import shlex
from pathlib import Path

import typer.main

import recbole_hm4sr
from recbole_hm4sr.cli import app
from recbole_hm4sr.cli.options import parse_overrides
from recbole_hm4sr.config.compose import parse_value, recbole_defaults
from recbole_hm4sr.config.settings import DataSettings, RunSettings
from recbole_hm4sr.model.registry import MODELS, model_names

# Flags of git, pip and torchrun, and the form of a flag itself.
OF_OTHERS = {"short", "show-toplevel", "porcelain", "untracked-files"}
OF_OTHERS |= {"nproc_per_node", "no-deps", "help", "version", "name"}


def commands(group=None, path=()):
    """Each command with the flags that it takes."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        flags = {flag for part in command.params for flag in (*part.opts, *part.secondary_opts)}
        yield " ".join((*path, name)), flags
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


def sentences():
    """The texts in the package's code without docstrings; an f-string's values are ``{}``."""
    for path in sorted(Path(recbole_hm4sr.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
            for part in node.values
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}"
                         for part in node.values]  # fmt: skip
                yield path.name, "".join(parts)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documents | inner
            ):
                yield path.name, node.value


def settings():
    classes = (DataSettings, RunSettings, *(entry.settings_class for entry in MODELS.values()))
    names = {name for cls in classes for name in cls.names()}
    return names.union(*(recbole_defaults(model) for model in model_names()))


def test_flags_that_a_sentence_names_exist():
    known = {flag.lstrip("-") for _, flags in commands() for flag in flags}
    known |= settings() | OF_OTHERS
    named = {
        (file, name)
        for file, text in sentences()
        for name in re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*)", text)
    }
    assert len(named) > 60
    assert sorted((file, name) for file, name in named if name not in known) == []


def test_commands_that_a_sentence_names_exist():
    known = dict(commands())
    named = [
        (words, text)
        for _, text in sentences()
        for words in re.findall(
            r"(?<!-)\bhm4sr ((?:prepare (?!needs|writes|makes|has)|encode )?[a-z]+)(?= |:|$|`|\))",
            text,
        )
        if words != "and"
    ]
    assert len(named) > 8
    assert {words for words, _ in named} <= set(known)
    for words, text in named:
        for flag in re.findall(rf"hm4sr {words} (--\w+)", text):
            assert flag in known[words]


def test_a_setting_that_a_sentence_writes_out_is_read():
    for _, text in sentences():
        for name, value in re.findall(r"--(\w+)='(\{[^']*\}|\[[^']*)'", text):
            if "{}" not in value:
                [word] = shlex.split(f"--{name}='{value}'")
                assert parse_overrides([word]) == {name: parse_value(value)}


def test_an_interval_is_read_as_it_is_typed():
    [word] = shlex.split("--item_inter_num_interval='[0,inf)'")
    assert parse_overrides([word]) == {"item_inter_num_interval": "[0,inf)"}
