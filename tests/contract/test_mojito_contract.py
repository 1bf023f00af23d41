"""MOJITO keeps the contract: at both moments, on prefixes, with both losses."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 8, "time_channels": 3, "n_long_items": 3}


class TestMOJITO(ModelContract):
    model = "MOJITO"
    overrides = {**SMALL, "request_time": "target"}


class TestMOJITOOnPrefixes(ModelContract):
    model = "MOJITO"
    overrides = {
        **SMALL,
        "train_mode": "prefix",
        "train_history": "exclude",
        "loss": "ce",
    }
