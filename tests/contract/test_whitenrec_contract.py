"""WhitenRec keeps the contract: with text, with both, with ids that begin as text, on prefixes."""

import pytest

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestWhitenRec(ModelContract):
    model = "WhitenRec"
    overrides = SMALL


class TestWhitenRecWithIdsAndCosine(ModelContract):
    model = "WhitenRec"
    overrides = {**SMALL, "item_rows": "text+id", "whitening": "pca", "score": "cosine"}


class TestIdsThatBeginAsText(ModelContract):
    model = "WhitenRec"
    overrides = {**SMALL, "hidden_size": 4, "item_rows": "id", "id_init": "pca"}

    def test_they_have_the_standard_deviation_of_ids(self, session):
        weight = session.model.item_embedding.weight
        assert not weight[0].any()
        assert weight[1:].std(unbiased=False).item() == pytest.approx(0.02, rel=1e-5)


class TestWhitenRecOnPrefixes(ModelContract):
    model = "WhitenRec"
    overrides = {**SMALL, "train_mode": "prefix", "text_map": "linear", "n_negatives": 7}
