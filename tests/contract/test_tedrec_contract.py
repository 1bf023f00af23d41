"""TedRec keeps the contract: as in the paper, causal on whole histories, with a memory."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32, "n_experts": 3}


class TestTedRec(ModelContract):
    model = "TedRec"
    overrides = SMALL


class TestCausalTedRecOnWholeHistories(ModelContract):
    model = "TedRec"
    overrides = {**SMALL, "causal_filter": True, "train_mode": "sequence", "n_negatives": 7}


class TestTedRecWithMemory(ModelContract):
    model = "TedRec"
    # Scores of at most 1, whose sums of parts round as little as the contract allows.
    overrides = {
        **SMALL,
        "memory": "events",
        "MAX_ITEM_LIST_LENGTH": 11,
        "gate_noise": False,
        "temperature": 1.0,
    }


def test_whole_histories_are_refused_with_the_reason():
    message = "train_mode of TedRec must be prefix, got 'sequence': its convolutions wrap around"
    with pytest.raises(ConfigError, match=message):
        compose("TedRec", "sports", overrides={**SMALL, "train_mode": "sequence"})
