"""UniSRec keeps the contract: with and without ids, one modality, none, with a memory, sampled."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32, "n_experts": 3}


class TestUniSRec(ModelContract):
    model = "UniSRec"
    overrides = SMALL


class TestUniSRecWithoutIds(ModelContract):
    model = "UniSRec"
    overrides = {**SMALL, "use_ids": False, "adaptor_dropout": "per_expert", "gate_noise": False}


class TestUniSRecOnPrefixes(ModelContract):
    model = "UniSRec"
    overrides = {**SMALL, "train_mode": "prefix", "modalities": {"text": "npz"}}


class TestUniSRecWithMemory(ModelContract):
    model = "UniSRec"
    overrides = {
        **SMALL,
        "MAX_ITEM_LIST_LENGTH": 11,
        "memory": "events",
        "train_targets": "visit",
        "n_negatives": 7,
    }


class TestUniSRecWithoutModalities(ModelContract):
    model = "UniSRec"
    overrides = {**SMALL, "modalities": {}}


def test_without_ids_and_modalities_it_is_refused(toy_path):
    settings = {**SMALL, "use_ids": False, "modalities": {}, "data_path": str(toy_path)}
    with pytest.raises(ConfigError, match="modalities must name at least one, since UniSRec"):
        build_parts(compose("UniSRec", "toy", overrides=settings), toy_path / "run")
