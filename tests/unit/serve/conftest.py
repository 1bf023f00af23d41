"""Small runs with a memory, which a refresh brings up to date."""

import numpy as np
import pytest
import yaml
from refreshable import FIRST, REACH, make_run

from recbole_hm4sr.data.refresh_state import NewRows
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import write_toy_dataset


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The settings of runs, by model."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_dataset(folder / "toy")
    values = {"data_path": str(folder), "request_time": "target", "memory_reach": REACH}
    plans = {
        "Momento": compose("Momento", "toy", overrides=values),
        "SASRec": compose("SASRec", "toy", overrides={"data_path": str(folder)}),
        "once": compose("Momento", "toy", overrides={**values, "rm_dup_inter": "first"}),
    }
    return {name: yaml.safe_dump(plan.to_plain()) for name, plan in plans.items()}


@pytest.fixture
def run(settings, tmp_path):
    """A run of two users: u1 has i1 and i2, u2 has i1."""
    rows = NewRows(np.array([1, 2, 1]), np.array([1, 1, 2]), FIRST + np.array([0, 5, 9]))
    return make_run(tmp_path / "run", rows, settings)
