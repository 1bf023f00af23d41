"""Write the pages that come from the code: ``docs/models/<name>.md`` and ``docs/reference``.

    python docs/generate.py

What the page of a model says is in the model's file: its docstrings, and its settings with their
sentences.
"""

import ast
import importlib.util
import re
from pathlib import Path

import generate_reference
import model_table

from recbole_hm4sr.config.catalog import settings_of
from recbole_hm4sr.config.compose import properties_dir
from recbole_hm4sr.model.cards import model_cards
from recbole_hm4sr.model.registry import MODELS, display_name

FOLDER = Path(__file__).parent / "models"
_MATH = re.compile(r"^( *)\.\. math::((?:.+|\n)(?:\n\1    .+)*)", re.MULTILINE)


def page(name: str) -> str:
    """The page of a model, as Markdown."""
    entry = MODELS[name]
    spec = importlib.util.find_spec(entry.module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    card = next(card for card in model_cards() if card.name == name)
    source = f"recbole_hm4sr/{entry.module.partition('.')[2].replace('.', '/')}.py"
    space = f"properties/tune/{name}.hyper"
    has_space = (properties_dir() / "tune" / f"{name}.hyper").is_file()
    commands = [f"python run_hm4sr.py --model={name} --dataset=sports"]
    commands += [f"hm4sr tune --model={name} --dataset=sports"] * has_space
    parts = [
        f"# {display_name(name)}{_how_to_name(name)}",
        "<!-- Written by docs/generate.py from the model's source. -->",
        _text(ast.get_docstring(tree)),
        *_picture(name),
        f"- Reads: items{''.join(f', {what}' for what in card.reads)}.",
        f"- Code: [`{source}`](../../{source}).",
        _text(ast.get_docstring(classes[0])),
        "## Run it",
        "\n".join(["```", *commands, "```"]),
        *_settings(name),
    ]
    if has_space:
        parts.append(f"The search space of `hm4sr tune` is [`{space}`](../../{space}).")
    parts += _published(name)
    return "\n\n".join(parts) + "\n"


def _how_to_name(name: str) -> str:
    """The flag of a model whose pages call it otherwise; nothing for the others."""
    return f" (`--model={name}`)" if display_name(name) != name else ""


def _picture(name: str) -> list[str]:
    """The drawing of the way of a score, where a model has one beside its page."""
    picture = f"{name.lower()}.svg"
    return [f"![The way of a score]({picture})"] * (FOLDER / picture).is_file()


def _published(name: str) -> list[str]:
    """Where the settings behind published numbers of a model are; nothing where there are none."""
    folder = "properties/model/published"
    paths = sorted((properties_dir() / "model" / "published").glob(f"{name}-*.yaml"))
    links = [f"[`{path.name}`](../../{folder}/{path.name})" for path in paths]
    text = f"Settings behind published numbers, for `--config_files`: {', '.join(links)}."
    return [text] * bool(links)


def _text(docstring: str | None) -> str:
    """A docstring in Markdown, without what is for those who call its class."""
    lines: list[str] = []
    is_shown = True
    for line in _MATH.sub(_formula, docstring or "").splitlines():
        if line and not line.startswith(" "):  # a section, or a paragraph of no section
            is_shown = line not in ("Args:", "Raises:", "Attributes:")
            if is_shown and line.endswith(":"):
                lines += [f"**{line}**", ""]
                continue
        if is_shown:
            lines.append(line.strip())
    return generate_reference.inline("\n".join(lines).strip())


def _formula(found: re.Match[str]) -> str:
    return f"{found[1]}$$ {' '.join(found[2].split())} $$"


def _settings(name: str) -> list[str]:
    """The heading and the table of a model's settings; nothing where it has none."""
    group = settings_of(name, MODELS[name].settings_class)[name]
    if not group:
        return []
    return ["## Settings", generate_reference.settings_table(group)]


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        (FOLDER / f"{name.lower()}.md").write_text(page(name), encoding="utf-8")
    (FOLDER / "index.md").write_text(model_table.index_page(), encoding="utf-8")
    readme = model_table.ROOT / "README.md"
    text = model_table.with_short_table(readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    for path, text in generate_reference.pages().items():
        (FOLDER.parent / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
