"""MMSR keeps the contract: as released, as described, and on the dense path."""

from contract.recommender import RecommenderContract

SMALL = {"hidden_size": 16, "n_codes": 4}


class TestMMSR(RecommenderContract):
    model = "MMSR"
    overrides = SMALL


class TestMMSRAsDescribed(RecommenderContract):
    model = "MMSR"
    overrides = {**SMALL, "qkv_mode": "separate", "asy_second_phase": "from_homo"}


class TestMMSRWithoutModalities(RecommenderContract):
    model = "MMSR"
    overrides = {**SMALL, "modalities": {}}
