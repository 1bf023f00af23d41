"""What the time-aware rivals refuse, and which moment a comparison sees."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.model.registry import reads_moment
from recbole_hm4sr.model.timed.settings import (
    MEANTIMESettings,
    MOJITOSettings,
    TiCoSeRecSettings,
    TiSASRecSettings,
)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (
            MEANTIMESettings,
            {"train_mode": "prefix"},
            r"train_mode must be sequence with MEANTIME, since it fills in masked items of whole "
            r"histories, and a prefix is read from both sides, got prefix",
        ),
        (MEANTIMESettings, {"train_history": "exclude"}, r"train_history must be include"),
        (MEANTIMESettings, {"train_targets": "visit"}, r"train_targets must be next with MEANTIME"),
        (MEANTIMESettings, {"memory": "events"}, r"memory must be none with MEANTIME"),
        (MEANTIMESettings, {"hidden_size": 62}, r"multiple of the number of kernels \(4\), got 62"),
        (
            MEANTIMESettings,
            {"hidden_size": 63, "relative_kernels": ["s"]},
            r"hidden_size must be even for the kernel s, got 63",
        ),
        (
            MEANTIMESettings,
            {"absolute_kernels": [], "relative_kernels": []},
            r"absolute_kernels and relative_kernels must name one at least",
        ),
        (MOJITOSettings, {"memory": "events"}, r"memory must be none with MOJITO, whose loss"),
        (MOJITOSettings, {"train_targets": "visit"}, r"train_targets must be next with MOJITO"),
        (TiSASRecSettings, {"n_negatives": 5}, r"n_negatives must be 0 with loss: bce, got 5"),
        (TiSASRecSettings, {"interval_scale": "day"}, r"interval_scale must be one of user_min or"),
        (TiSASRecSettings, {"interval_scale": 0.0}, r"interval_scale must be"),
        (TiCoSeRecSettings, {"mask_rate": 1.0}, r"mask_rate must be in \[0, 1\), got 1"),
    ],
)
def test_it_is_refused_with_its_reason(cls, values, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(values, cls)


def test_a_softmax_may_be_sampled():
    assert read_settings({"n_negatives": 5, "loss": "ce"}, TiSASRecSettings).n_negatives == 5


@pytest.mark.parametrize(
    ("model", "expected"),
    [("MEANTIME", True), ("MOJITO", True), ("TiSASRec", False), ("TiCoSeRec", False)],
)
def test_scores_depend_on_the_moment(model, expected):
    assert reads_moment(model, {"memory": "none"}) is expected
    if not expected:
        assert reads_moment(model, {"memory": "events"})
