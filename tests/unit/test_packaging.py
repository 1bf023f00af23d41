"""What setup.cfg ships is what the tree holds, and the root of the package holds nothing loose."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

import recbole_hm4sr

ROOT = Path(__file__).parents[2]
PACKAGE = Path(recbole_hm4sr.__file__).parent
# These lie at the top of the checkout and travel inside the package.
MAPPED = {"recbole_hm4sr.properties", "recbole_hm4sr.dataset_atomic"}


def test_every_room_is_shipped():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    shipped = set(setup["options"]["packages"].split())
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    assert shipped == MAPPED | {".".join(folder.parts) for folder in folders}


def test_the_root_of_the_package_holds_nothing_loose():
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert citation["version"] == recbole_hm4sr.__version__
    assert citation["license"] == setup["metadata"]["license"]
    assert citation["authors"] == [{"name": setup["metadata"]["author"]}]
    assert {"cff-version", "message", "title"} <= set(citation)


@pytest.mark.parametrize("name", ["bug", "feature", "numbers"])
def test_an_issue_template_can_be_shown(name):
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml"
    if not path.is_file():
        pytest.skip("needs the checkout's .github")
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids)
    assert {part["type"] for part in form["body"]} <= {"textarea", "input"}
    assert all(part["attributes"]["label"] for part in form["body"])


def test_what_the_extras_ask_for_is_pinned():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    extras = setup["options.extras_require"]
    wanted = {
        re.split(r"[><=\[]", line)[0]
        for name in ("test", "docs", "dev")
        for line in extras[name].split("\n")
        if line and not line.startswith("recbole-hm4sr")
    }
    missing = [name for name in sorted(wanted) if f"\n{name}==" not in pins]
    assert missing == ["types-PyYAML"]
