"""The script of a shop's week goes through all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.run.serving_file import read_serving_file

for package in ("duckdb", "fastapi", "fastapi_offline", "uvicorn"):
    pytest.importorskip(package)

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def test_a_week_goes_from_csv_files_to_the_next_run(tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, ROOT / "docs" / "tutorials" / "week.py", tmp_path / "shop"],
        env=environment, capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    words = " ".join(ended.stdout.split())
    assert "the new tent is in the list" in words
    # 150 orders of 75 customers, 15 of them new: the first order of a new one has no history.
    assert "150 interactions added, 0 skipped that were there; 135 targets learned" in words
    assert "new users: 15, new items: 1" in words
    assert "the service has taken the update over" in words
    assert "480 interactions of shop are kept" in words
    runs = tmp_path / "shop" / "runs"
    second = Vocabulary.load(runs / "second" / FILE_NAME)
    first = Vocabulary.load(runs / "first" / "updates" / "1" / FILE_NAME)
    np.testing.assert_array_equal(second.items[: len(first.items)], first.items)
    assert (len(first.items), len(second.users)) == (32, 76)
    assert "P900" in read_serving_file(runs / "second").data.item_tokens
    assert (tmp_path / "shop" / "current").resolve() == (runs / "second").resolve()
    judged = json.loads((tmp_path / "shop" / "judged" / "later.json").read_text())
    assert judged["n_interactions"] == 150
    # Those that came on Tuesday, which the run knows since.
    assert judged["added_items"] == pytest.approx(25 / 150)
    assert judged["unknown_items"] == 0
