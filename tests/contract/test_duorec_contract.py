"""DuoRec keeps the contract: on whole histories and on prefixes, with each kind of views."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestDuoRec(ModelContract):
    model = "DuoRec"
    overrides = SMALL


class TestDuoRecOnPrefixes(ModelContract):
    model = "DuoRec"
    overrides = {
        **SMALL,
        "train_mode": "prefix",
        "train_history": "exclude",
        "contrast_views": "us",
        "sim": "cos",
        "tau": 0.2,
        "mask_same_target": True,
    }


class TestDuoRecOfTwoPasses(ModelContract):
    model = "DuoRec"
    overrides = {**SMALL, "contrast_views": "un", "n_negatives": 7}
