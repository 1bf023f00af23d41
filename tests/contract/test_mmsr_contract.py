"""MMSR keeps the contract: as released, as described, and on the dense path."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "n_codes": 4}


class TestMMSR(ModelContract):
    model = "MMSR"
    overrides = SMALL


class TestMMSRAsDescribed(ModelContract):
    model = "MMSR"
    overrides = {**SMALL, "qkv_mode": "separate", "asy_second_phase": "from_homo"}


class TestMMSRWithoutModalities(ModelContract):
    model = "MMSR"
    overrides = {**SMALL, "modalities": {}}
