"""gSASRec keeps the contract: with both forms of negatives, tied, on prefixes, with a softmax."""

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "n_negatives": 7}


class TestGSASRec(ModelContract):
    model = "gSASRec"
    overrides = SMALL


class TestGSASRecTiedWithSharedNegatives(ModelContract):
    model = "gSASRec"
    overrides = {**SMALL, "tie_items": True, "share_negatives": True, "train_history": "exclude"}


class TestGSASRecOnPrefixes(ModelContract):
    model = "gSASRec"
    overrides = {**SMALL, "train_mode": "prefix", "train_history": "exclude"}


class TestGSASRecWithSampledSoftmax(ModelContract):
    model = "gSASRec"
    overrides = {**SMALL, "loss": "ce"}
