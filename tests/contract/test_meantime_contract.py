"""MEANTIME keeps the contract: at the newest moment and at the target's."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16}


class TestMEANTIME(ModelContract):
    model = "MEANTIME"
    overrides = SMALL


class TestMEANTIMEAtTheTargetsMoment(ModelContract):
    model = "MEANTIME"
    overrides = {
        **SMALL,
        "request_time": "target",
        "absolute_kernels": ["c"],
        "relative_kernels": ["s", "e", "l"],
        "n_negatives": 7,
    }
