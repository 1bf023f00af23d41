"""Every user walks from item i to i + 1: a model that learns must find it (NDCG@10 above 0.9)."""

import pytest

from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = pytest.mark.integration


def test_hm4sr_learns_the_cycle(toy_path, tmp_path):
    settings = {
        **QUICK_HM4SR,
        "data_path": str(toy_path),
        "epochs": 40,
        "learning_rate": 0.01,
        "hidden_dropout_prob": 0.1,
        "attn_dropout_prob": 0.1,
    }
    result = quick_start.run("HM4SR", "toy", overrides=settings, run_dir=tmp_path / "run")
    assert result.test["ndcg@10"] > 0.9
