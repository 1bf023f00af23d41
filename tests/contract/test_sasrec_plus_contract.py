"""SASRec+ keeps the contract, in both training modes and with a sampled softmax."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestSASRecPlus(ModelContract):
    model = "SASRecPlus"
    overrides = SMALL


class TestSASRecPlusOnPrefixes(ModelContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "train_mode": "prefix", "train_history": "exclude"}


class TestSASRecPlusWithSampledSoftmax(ModelContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "n_negatives": 7}


class TestSASRecPlusWithTheOriginalBlock(ModelContract):
    model = "SASRecPlus"
    overrides = {"hidden_size": 16, "block": "original", "train_history": "exclude"}


class TestSASRecPlusWithLiGRBlocks(ModelContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "block": "ligr", "loss": "bce", "n_negatives": 1}


class TestSASRecPlusAgainstASample(ModelContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "loss": "sampled", "n_negatives": 7, "share_negatives": True}
