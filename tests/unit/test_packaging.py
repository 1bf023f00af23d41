"""What setup.cfg ships is what the tree holds, and the root of the package holds nothing loose."""

import configparser
from pathlib import Path

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
