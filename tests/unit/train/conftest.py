"""The parts of a run of a model of arithmetic."""

import pytest
from arithmetic import Arithmetic

from recbole_hm4sr.model.registry import ModelEntry
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK


@pytest.fixture
def session(toy_path, tmp_path):
    def open_with(model=Arithmetic, **settings):
        plan = compose(
            ModelEntry("Arithmetic", lambda: model, lambda: None),
            "toy",
            overrides={**QUICK, "data_path": str(toy_path), "use_gpu": False, **settings},
        )
        return build_parts(plan, tmp_path)

    return open_with
