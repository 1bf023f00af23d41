"""A memory of very many events is built in files, and says what one in memory says."""

from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.model import memory
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.run.serving_file import read_serving_file
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration
SETTINGS = {**QUICK, "epochs": 1, "memory": "events", "MAX_ITEM_LIST_LENGTH": 11, "n_layers": 1}


def test_events_in_files_are_trained_on_and_kept_without_a_copy(toy_path, tmp_path, monkeypatch):
    settings = {**SETTINGS, "data_path": str(toy_path)}
    plan = compose("SASRecPlus", "toy", overrides=settings)
    expected = build_parts(plan, tmp_path / "parts").model.memory_arrays
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(memory, "MOST_IN_MEMORY", len(expected["events.others"]) - 1)
    run = tmp_path / "run"
    quick_start.run("SASRecPlus", "toy", overrides=settings, run_dir=run)
    cache = tmp_path / "cache" / "recbole_hm4sr" / "memory"
    whole = read_serving_file(run).memory.open_events(run)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(values, expected[f"events.{name}"])
        assert Path(values.filename).samefile(cache / Path(values.filename).name)
    assert len(list(cache.glob("*.npy"))) == 4
