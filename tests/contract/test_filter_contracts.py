"""BSARec and FMLP-Rec keep the contract: on prefixes, and causal on whole histories."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestBSARec(ModelContract):
    model = "BSARec"
    overrides = SMALL


class TestBSARecCausal(ModelContract):
    model = "BSARec"
    overrides = {
        **SMALL,
        "filter": "causal",
        "train_mode": "sequence",
        "loss": "gbce",
        "n_negatives": 7,
    }


class TestFMLPRec(ModelContract):
    model = "FMLPRec"
    overrides = {**SMALL, "train_history": "exclude"}


class TestFMLPRecCausal(ModelContract):
    model = "FMLPRec"
    overrides = {
        **SMALL,
        "filter": "causal",
        "train_mode": "sequence",
        "share_filter": True,
        "loss": "bce",
        "n_negatives": 1,
    }
