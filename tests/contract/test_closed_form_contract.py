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


class TestItemKNNAsOfTheRequest(ClosedFormContract):
    model = "ItemKNN"
    overrides = {"counts": "as_of", "request_time": "target"}


class TestEASE(ClosedFormContract):
    model = "EASE"
    overrides = {"l2_weight": 5.0, "served_weights": 4}

    def test_it_can_score_by_all_weights(self, session, batch):
        model = session.model
        kept = model.full_sort_predict(batch)
        assert model.values.shape == (model.n_items * 4,)
        for _ in range(2):  # the second time it is fitted again
            with model.as_fitted(session.train_data._dataset):
                assert model.table.values.shape == (model.n_items, model.n_items)
                assert not torch.equal(model.full_sort_predict(batch), kept)
        assert torch.equal(model.full_sort_predict(batch), kept)
