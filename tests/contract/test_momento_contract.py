"""Momento keeps the contract, and its items lose their ids where they should."""

import math

import numpy as np
import torch

from recbole_hm4sr.model.momento.model import scaled
from recbole_hm4sr.testing.contract import ModelContract

SMALL = {
    "hidden_size": 16,
    "inner_size": 32,
    "n_interactive_experts": 2,
    "MAX_ITEM_LIST_LENGTH": 11,
}


class TestMomento(ModelContract):
    model = "Momento"
    overrides = SMALL

    def test_it_is_a_preset_of_memory_and_visits(self, session):
        settings = session.model.settings
        assert (settings.memory, settings.train_targets) == ("events", "visit")
        assert settings.memory_weights == "situation"
        assert settings.train_mode == "sequence"
        assert settings.passes_per_epoch == 1

    def test_an_item_loses_its_id_alone_and_in_training_alone(self, session):
        model = session.model
        own = model.item_embedding.weight.detach()
        with torch.no_grad():
            trained, scored = model.train().item_rows(), model.eval().item_rows()
        assert torch.equal(scored[1:, 0], own[1:] * model.has_id[1:, None])
        lost = (trained[1:, 0] == 0).all(dim=1)
        assert 0 < int(lost.sum()) < len(lost)
        assert torch.equal(trained[1:, 0][~lost], own[1:][~lost])
        assert torch.equal(trained[:, 1:], scored[:, 1:])

    def test_no_target_of_a_visit_is_held_out(self, session):
        shown = session.train_data._dataset.shown_interactions().numpy()
        visits = session.model.arrange.visits.visits
        assert not shown.all()
        assert (visits[~shown] == -1).all()
        assert (visits[shown] >= 0).all()

    def test_an_item_of_no_training_row_has_no_id(self, session):
        model = session.model.eval()
        model.has_id[3] = False
        with torch.no_grad():
            assert not model.item_rows()[3, 0].any()
            assert not model.item_rows(torch.tensor([3]))[0, 0].any()


class TestMomentoWithoutModalities(ModelContract):
    model = "Momento"
    overrides = {**SMALL, "modalities": {}, "id_dropout": 0.0, "request_time": "target"}


class TestMomentoWithoutIds(ModelContract):
    model = "Momento"
    overrides = {**SMALL, "use_ids": False}

    def test_ids_add_nothing_to_a_score(self, session):
        model = session.model.eval()
        batch = next(iter(session.test_data))[0]
        with torch.no_grad():
            parts = model.score_parts(batch, torch.arange(1, model.n_items))
        of_ids = model.part_names.index("id")
        assert not parts[..., of_ids].any()
        assert parts[..., of_ids + 1].any()


def test_features_have_one_length_and_zeros_stay():
    rows = np.array([[0, 0, 0, 0], [3, 0, 4, 0]], dtype=np.float32)
    found = scaled(lambda items: rows[items])(np.array([1, 0]))
    np.testing.assert_allclose(found[0], np.array([0.6, 0, 0.8, 0]) * 0.3 * math.sqrt(4), rtol=1e-6)
    assert not found[1].any()
    assert found.dtype == np.float32
