"""eSASRec keeps the contract: with its sample, on prefixes with other activations, exact."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "ff_multiplier": 2, "n_negatives": 7}


class TestESASRec(ModelContract):
    model = "eSASRec"
    overrides = SMALL


class TestESASRecOnPrefixes(ModelContract):
    model = "eSASRec"
    overrides = {
        **SMALL,
        "train_mode": "prefix",
        "train_history": "exclude",
        "ff_act": "gelu",
        "ff_bias": True,
        "loss": "ce",
        "n_negatives": 0,
    }
