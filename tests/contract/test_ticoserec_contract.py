"""TiCoSeRec keeps the contract: with and without its contrast, on prefixes."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestTiCoSeRec(ModelContract):
    model = "TiCoSeRec"
    overrides = {**SMALL, "cl_start_epoch": 1, "short_threshold": 3}


class TestTiCoSeRecOnPrefixes(ModelContract):
    model = "TiCoSeRec"
    overrides = {
        **SMALL,
        "cl_start_epoch": 1,
        "cl_pool": "mean",
        "train_mode": "prefix",
        "train_history": "exclude",
        "loss": "ce",
    }
