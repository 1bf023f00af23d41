"""SASRec+ keeps the contract, in both training modes and with a sampled softmax."""

from contract.recommender import RecommenderContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestSASRecPlus(RecommenderContract):
    model = "SASRecPlus"
    overrides = SMALL


class TestSASRecPlusOnPrefixes(RecommenderContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "train_mode": "prefix", "train_history": "exclude"}


class TestSASRecPlusWithSampledSoftmax(RecommenderContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "n_negatives": 7}
