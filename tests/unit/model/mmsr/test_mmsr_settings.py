"""MMSR's settings: the released behaviour by default, and each range is checked."""

import pytest
from helpers import model_config

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.model.mmsr.settings import MMSRSettings


def test_the_default_is_the_released_behaviour():
    settings = read_settings(model_config("MMSR"), MMSRSettings)
    assert (settings.qkv_mode, settings.asy_second_phase) == ("tied", "official")
    assert (settings.hidden_size, settings.n_codes, settings.n_links) == (128, 20, 1)
    assert settings.takes_fast_path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 0}, r"hidden_size must be 1 or more, got 0"),
        ({"n_layers": 0}, r"n_layers must be 1 or more, got 0"),
        ({"n_codes": 0}, r"n_codes must be 1 or more, got 0"),
        ({"n_links": -1}, r"n_links must be 1 or more, got -1"),
        ({"graph_chunk": 0}, r"graph_chunk must be 1 or more, got 0"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must be in \[0, 1\), got 1.0"),
        ({"attn_dropout_prob": -0.1}, r"attn_dropout_prob must be in \[0, 1\), got -0.1"),
        ({"leaky_slope": -1.0}, r"leaky_slope must be 0 or more, got -1.0"),
        ({"code_seed": -1}, r"code_seed must be from 0 to 4294967295, got -1"),
        ({"fusion_type": "sum"}, r"fusion_type must be one of asy_mask, gate, cat, got 'sum'"),
        (
            {"graph_path": "fast", "n_layers": 2},
            r"graph_path must be auto or dense unless .*'fast'",
        ),
    ],
)
def test_a_wrong_value_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(model_config("MMSR", **wrong), MMSRSettings)


@pytest.mark.parametrize(
    "change",
    [
        {"n_layers": 2},
        {"fusion_type": "gate"},
        {"asy_second_phase": "from_homo"},
        {"seq_pooling": "mean"},
        {"graph_path": "dense"},
    ],
)
def test_the_fast_path_is_left_where_it_is_not_exact(change):
    settings = read_settings(model_config("MMSR", **change), MMSRSettings)
    assert not settings.takes_fast_path
