"""The example of the data contract, run as it stands there."""

import re
from pathlib import Path

import pytest

from recbole_hm4sr.cli import main

CONTRACT = Path(__file__).resolve().parents[2] / "docs/data/format.md"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The folder in which the example has been run."""
    found = re.search(r"<!-- example -->\n```python\n(.*?)```", CONTRACT.read_text("utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(found[1], str(CONTRACT), "exec"), {})  # our own page
    return tmp_path


def test_the_example_is_whole_and_without_a_warning(shop, capsys):
    assert sorted(path.name for path in (shop / "my-shop").iterdir()) == [
        "my-shop.inter",
        "my-shop.item",
        "my-shop.text.npz",
        "my-shop.yaml",
    ]
    with pytest.raises(SystemExit, match="0"):
        main(["check", "--dataset=my-shop", "--data_path=."])
    said = capsys.readouterr().out
    assert "interactions  320" in said
    assert "users, items  40 and 30" in said
    assert re.search(r"coverage +30 of 30 items \(100 %\)", said)
    assert "no error, 0 warnings" in said
