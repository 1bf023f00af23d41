"""The model of docs/models.md, built and run as the page prints it."""

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.evaluate.statistics import user_metric

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(toml|python|py|yaml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMAND = next(line for line in PAGE.splitlines() if line.startswith("python run_hm4sr.py"))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Where the targets of the sample rank, by a run of the page's package and command."""
    folder = tmp_path_factory.mktemp("page")
    code = folder / "my_models" / "my_models"
    code.mkdir(parents=True)
    (code.parent / "pyproject.toml").write_text(BLOCKS["toml"])
    (code / "__init__.py").write_text("")
    (code / "mean_rec.py").write_text(BLOCKS["python"])
    (code / "MeanRec.yaml").write_text(BLOCKS["yaml"])
    # As the page's `pip install -e my_models`, but into a folder of the test and without a network.
    _python(["-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation",
             "--target", str(folder / "site"), "./my_models"], folder, [])  # fmt: skip
    run = folder / "run"
    paths = [str(ROOT), str(folder / "site")]
    _python([*shlex.split(COMMAND)[1:], f"--run_dir={run}"], ROOT, paths)
    (folder / "test_mean_rec.py").write_text(BLOCKS["py"])
    _python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mean_rec.py"], folder, paths)
    with np.load(run / "test_ranks.npz") as file:
        return dict(file)


def _python(arguments, folder, paths):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_learns_more_than_popularity(ranks):
    learned = user_metric(ranks["rank_exclude"], "NDCG@10").mean()
    assert learned > 1.1 * user_metric(_popularity_ranks(ranks), "NDCG@10").mean()


def _popularity_ranks(ranks):
    """Ranks by the counts of the training part, seen items removed, ties in popularity's favour."""
    table = read_atomic(ROOT / "dataset_atomic" / "sports" / "sports.inter").frame
    rows = sorted(zip(table["user_id"], table["timestamp"], table["item_id"], strict=True),
                  key=lambda row: row[:2])  # fmt: skip
    histories = {}
    for user, _, item in rows:
        histories.setdefault(user, []).append(item)
    counts = Counter(item for history in histories.values() for item in history[:-2])
    better = []
    for user, target in zip(ranks["user"], ranks["target"], strict=True):
        seen = {*histories[user][:-1]} - {target}
        better.append(sum(n > counts[target] for item, n in counts.items() if item not in seen))
    return 1 + np.array(better)
