"""The site: built without a warning, read without a network, its formulas and tutorials in it."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

config = pytest.importorskip("mkdocs.config")
pytest.importorskip("material")
pytest.importorskip("latex2mathml")

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; a warning would have ended the build."""
    from mkdocs.commands.build import build

    folder = tmp_path_factory.mktemp("site")
    settings = config.load_config(
        str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder), docs_dir=str(ROOT / "docs")
    )
    build(settings)
    return folder


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="https?:|<link[^>]*\shref="https?:|'
        r"url\(\s*[\"']?https?:|@import"
    )
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 50
    assert [path.name for path in files if loaded.search(path.read_text(encoding="utf-8"))] == []


def test_formulas_are_drawn_without_a_script(site):
    page = (site / "models" / "momento.html").read_text(encoding="utf-8")
    assert page.count("<math ") == 3
    assert "arithmatex" not in page


def test_pages_from_outside_docs_are_there(site):
    for name in ("results/README.html", "results/beauty.html", "CHANGELOG.html"):
        folder, _, page = name.rpartition("/")
        made = site / folder / ("index.html" if page == "README.html" else page)
        assert made.is_file(), name


def test_a_tutorial_shows_its_code(site):
    page = (site / "tutorials" / "sample.html").read_text(encoding="utf-8")
    assert "report_run" in page
    assert "csv-to-service.html" in page


def test_links_lead_to_pages_or_are_text(hooks):
    known = {"data/format.md", "results/beauty.md", "models/hm4sr.md", "tutorials/sample.md"}
    files = SimpleNamespace(get_file_from_path=lambda name: name if name in known else None)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="models/hm4sr.md"))
    text = (
        "[a](../../recbole_hm4sr/x.py) [b](../../results/beauty.md#two-seeds) "
        "[c](../tutorials/sample.ipynb) [d](https://x.org) [e](#here) [f](../../README.md)\n"
        "```\n[g](../../recbole_hm4sr/x.py)\n```\n"
    )
    assert hooks.on_page_markdown(text, page, files) == (
        "a [b](../results/beauty.md#two-seeds) "
        "[c](../tutorials/sample.md) [d](https://x.org) [e](#here) f\n"
        "```\n[g](../../recbole_hm4sr/x.py)\n```\n"
    )


def test_a_folder_of_pages_completes_the_navigation(hooks):
    nav = [{"Models": ["a/one.md", "a/*.md"]}, "b.md", "*.md"]
    assert hooks._named(nav) == ["a/one.md", "a/*.md", "b.md", "*.md"]
    pages = ["a/three.md", "a/two.md", "a/deep/four.md", "c.md"]
    assert hooks._completed(nav, pages) == [
        {"Models": ["a/one.md", "a/three.md", "a/two.md"]},
        "b.md",
        "c.md",
    ]
