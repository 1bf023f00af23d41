"""The models that are fitted once keep the contract."""

import torch

from recbole_hm4sr.testing.contract import ClosedFormContract


class TestPopular(ClosedFormContract):
    model = "Popular"


class TestRecentPopular(ClosedFormContract):
    model = "RecentPopular"


class TestRepeatLast(ClosedFormContract):
    model = "RepeatLast"


class TestItemKNN(ClosedFormContract):
    model = "ItemKNN"


class TestEASE(ClosedFormContract):
    model = "EASE"
    overrides = {"l2_weight": 5.0, "served_weights": 4}

    def test_it_can_score_as_it_is_served(self, session, batch):
        model = session.model
        whole = model.full_sort_predict(batch)
        with model.as_served():
            assert not torch.equal(model.full_sort_predict(batch), whole)
            assert model.values.shape == (model.n_items * 4,)
        assert torch.equal(model.full_sort_predict(batch), whole)
