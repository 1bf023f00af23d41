"""TiSASRec keeps the contract: with its own loss and with a softmax, on prefixes."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "max_interval": 5}


class TestTiSASRec(ModelContract):
    model = "TiSASRec"
    overrides = {**SMALL, "l2_emb": 1e-4, "train_history": "exclude"}


class TestTiSASRecOnPrefixes(ModelContract):
    model = "TiSASRec"
    overrides = {
        **SMALL,
        "n_heads": 2,
        "train_mode": "prefix",
        "interval_scale": 86400.0,
        "loss": "ce",
        "n_negatives": 7,
        "time_dropout": "none",
    }
