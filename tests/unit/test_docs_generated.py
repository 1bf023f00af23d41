"""The pages that docs/generate.py writes are what it writes today."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import recbole_hm4sr
from recbole_hm4sr.model.registry import MODELS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("generate")
        for name in ("generate", "generate_reference", "model_table"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("name", MODELS)
def test_a_page_is_up_to_date(generate, name):
    written = (DOCS / "models" / f"{name.lower()}.md").read_text(encoding="utf-8")
    assert written == generate.page(name), "run: python docs/generate.py"


def test_the_tables_of_models_are_up_to_date(generate):
    written = (DOCS / "models" / "index.md").read_text(encoding="utf-8")
    assert written == generate.model_table.index_page(), "run: python docs/generate.py"
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert readme == generate.model_table.with_short_table(readme), "run: python docs/generate.py"
    first = "| [Momento](docs/models/momento.md) | this package | yes | yes | yes |"
    assert f"{first} .0698 | .0608 | .1168 |" in readme


def test_a_model_has_one_name_in_tables_and_its_flag_beside_it_once(generate):
    page = generate.page("SASRecPlus")
    assert page.startswith("# SASRec+ (`--model=SASRecPlus`)\n")
    (row,) = [line for line in generate.model_table.index_page().splitlines() if "Plus" in line]
    assert row.startswith("| [SASRec+](sasrecplus.md) (`--model=SASRecPlus`) | [ICDM 2018](")
    assert "](https://arxiv.org/abs/1808.09781) | - |" in row
    assert generate.page("HM4SR").startswith("# HM4SR\n")


def test_the_paper_of_a_row_is_read_from_the_docstring(generate):
    table = generate.model_table.index_page()
    rows = dict(re.findall(r"^\| \[?([\w+]+)[^|]*\| ([^|]+) \|", table, re.MULTILINE))
    assert rows["PixelRec"] == "ACM Multimedia 2026"  # no arXiv number in its docstring
    assert rows["KERec"] == "2026"  # a year alone
    assert rows["BERT4Rec"] == "CIKM 2019"  # RecBole's form
    assert {name for name, paper in rows.items() if paper in ("-", "this package")} == {
        "Momento", "Popular", "RecentPopular", "RepeatLast",
    }  # fmt: skip


def test_there_is_no_page_of_another_model():
    pages = {path.stem for path in (DOCS / "models").glob("*.md")} - {"index"}
    assert pages == {name.lower() for name in MODELS}


@pytest.mark.parametrize("page", ["commands", "settings", "recbole-models", "python"])
def test_a_page_of_the_reference_is_up_to_date(generate, page):
    written = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    made = generate.generate_reference.pages()[f"reference/{page}.md"]
    assert written == made, "run: python docs/generate.py"


def test_the_reference_names_what_users_import():
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = set(recbole_hm4sr.__all__) - {"__version__", "UserError"}
    assert [name for name in sorted(names) if f"### recbole_hm4sr.{name}\n" not in text] == []
    assert "| `UserError` | `Exception` |" in text


def test_a_docstring_becomes_markdown(generate):
    code = '''
def scale(x: "Tensor", *, by: float=2.0) -> "Tensor":
    """Scale, see :func:`~recbole_hm4sr.layers.time.bucketize`.

    Args:
        x: Values.
            Any shape.

    Raises:
        ValueError: If ``by`` is 0.
    """
'''
    (node,) = generate.generate_reference.ast.parse(code).body
    text = generate.generate_reference._google(node)
    assert text == (
        "Scale, see `bucketize`.\n\n**Args**\n\n- `x`: Values.\n  Any shape.\n\n"
        "**Raises**\n\n- `ValueError`: If `by` is 0."
    )
    signature = generate.generate_reference._signature(node, "scale")
    assert signature == "```python\nscale(x: Tensor, *, by: float=2.0) -> Tensor\n```"


def test_roles_of_restructured_text_become_markdown(generate):
    docstring = r"""With :math:`t'` times, :math:`r_{ij} =
min(a, k)` and ``k`` of :class:`~recbole_hm4sr.a.B`; see :mod:`.notebook`.

.. math:: a \cdot b
"""
    assert generate._text(docstring) == (
        "With $t'$ times, $r_{ij} = min(a, k)$ and `k` of `B`; see `notebook`.\n\n"
        r"$$ a \cdot b $$"
    )


def test_no_page_shows_a_role():
    pages = [*(DOCS / "models").glob("*.md"), *(DOCS / "reference").glob("*.md")]
    assert {
        page.name: found
        for page in pages
        if (found := re.findall(r":[a-z]+:`", page.read_text(encoding="utf-8")))
    } == {}
