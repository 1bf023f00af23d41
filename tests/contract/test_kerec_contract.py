"""KERec keeps the contract: on whole histories, on prefixes, without its second pass."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestKERec(ModelContract):
    model = "KERec"
    overrides = SMALL


class TestKERecOnPrefixes(ModelContract):
    model = "KERec"
    overrides = {
        **SMALL,
        "train_mode": "prefix",
        "position_order": "newest",
        "lags": [1, 2],
        "train_history": "exclude",
        "cl_weight": 0,
    }
