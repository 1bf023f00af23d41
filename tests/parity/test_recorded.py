"""Losses, gradients and scores of this package's models are those that were recorded."""

import pytest
from helpers import assert_close
from parity.recorded_cases import HM4SR_CASES, MMSR_CASES, build, outcome, read_recorded

pytestmark = pytest.mark.parity
CASES = [("HM4SR", case) for case in HM4SR_CASES] + [("MMSR", case) for case in MMSR_CASES]


@pytest.mark.parametrize(("model", "case"), CASES)
def test_a_model_computes_what_was_recorded(model, case):
    recorded = read_recorded(model, case)
    found = outcome(build(model, case))
    assert found.keys() == recorded.keys()
    for name, value in recorded.items():
        assert_close(found[name].ravel(), value, 1e-12)
