"""The pages of docs/models are what docs/generate.py writes from the models' sources."""

import importlib.util
from pathlib import Path

import pytest

from recbole_hm4sr.model.registry import MODELS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_a_page_is_up_to_date(generate, name):
    written = (DOCS / "models" / f"{name.lower()}.md").read_text(encoding="utf-8")
    assert written == generate.page(name), "run: python docs/generate.py"


def test_there_is_no_page_of_another_model():
    pages = {path.stem for path in (DOCS / "models").glob("*.md")}
    assert pages == {name.lower() for name in MODELS}
