"""What MkDocs does not do by itself: pages from outside ``docs``, tutorials, links, formulas.

- ``results/*.md`` and a few pages of the checkout's root are pages of the site too.
- A notebook of ``docs/tutorials`` is shown as its cells.
- A link to a file that is no page, as a source file, is shown as text: the site has no address of a
  repository to point to.
- Formulas become MathML, which browsers draw without a script.
- ``folder/*.md`` in the navigation is all pages of the folder that it does not name elsewhere.
"""

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_FROM_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "results/*")
_LINK = re.compile(r"(?<!\!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_MATH = re.compile(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', re.DOTALL)
_TERMINAL_CODES = re.compile(r"\x1b\[[\d;]*m")
# The README is for those who see the repository; its page in the site is the first.
_ALIASES = {"README.md": "index.md", "dataset_atomic/README.md": "data/format.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside ``docs``, and complete the navigation."""
    for pattern in _FROM_ROOT:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        text = notebook_as_markdown(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
    pages = sorted(file.src_uri for file in files.documentation_pages())
    assert config.nav is not None
    named = set(_named(config.nav))
    config.nav = _completed(config.nav, [page for page in pages if page not in named])
    return files


def _named(nav: Any) -> list[str]:
    """The pages that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [name for entry in inner for name in _named(entry)]


def _completed(nav: Any, pages: list[str]) -> Any:
    """A navigation with each ``folder/*.md`` replaced by those of ``pages`` in the folder."""
    if isinstance(nav, dict):
        return {title: _completed(entry, pages) for title, entry in nav.items()}
    if isinstance(nav, str):
        return nav
    found: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and posixpath.basename(entry) == "*.md":
            folder = posixpath.dirname(entry)
            found += [page for page in pages if posixpath.dirname(page) == folder]
        else:
            found.append(_completed(entry, pages))
    return found


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Point links between files of the repository to pages, and leave out those to no page."""
    source = page.file.src_uri
    is_from_root = source in ("CHANGELOG.md", "CONTRIBUTING.md") or source.startswith("results/")
    folder = posixpath.dirname(source if is_from_root else f"docs/{source}")

    def mended(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or ":" in path:
            return found[0]
        name = posixpath.normpath(posixpath.join(folder, path))
        name = _ALIASES.get(name, name.removeprefix("docs/"))
        name = name.removesuffix(".ipynb") + ".md" if name.endswith(".ipynb") else name
        if name == "results":
            name = "results/README.md"
        if files.get_file_from_path(name) is None:
            return text
        link = posixpath.relpath(name, posixpath.dirname(source) or ".")
        return f"[{text}]({link}{'#' * bool(anchor)}{anchor})"

    blocks = _FENCE.split(markdown)  # every second one is code
    return "".join(
        block if number % 2 else _LINK.sub(mended, block) for number, block in enumerate(blocks)
    )


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML."""

    def drawn(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        return str(convert(html.unescape(found[2]).strip(), display=display))

    return _MATH.sub(drawn, content)


def notebook_as_markdown(path: Path) -> str:
    """The cells of a notebook: its texts, its code, and the text that the code printed."""
    book = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in book["cells"]:
        text = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif text:
            parts.append(f"```python\n{text}\n```")
            for output in cell["outputs"]:
                printed = output.get("text") or output.get("data", {}).get("text/plain", [])
                if printed:
                    shown = _TERMINAL_CODES.sub("", "".join(printed)).rstrip()
                    parts.append(f"```text\n{shown}\n```")
    first = f"This page is the notebook `docs/tutorials/{path.name}`, which the tests run."
    return "\n\n".join([parts[0], first, *parts[1:]]) + "\n"
