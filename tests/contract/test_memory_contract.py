"""Any packed model keeps the contract with a memory and with the targets of a visit."""

import pytest
import torch

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32, "MAX_ITEM_LIST_LENGTH": 11}
MEMORY = {**SMALL, "memory": "events", "train_targets": "visit"}


class TestSASRecPlusWithMemory(ModelContract):
    model = "SASRecPlus"
    overrides = MEMORY

    def test_parts_sum_to_the_score(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            parts = model.score_parts(batch, torch.arange(1, model.n_items))
            scores = model.full_sort_predict(batch)[:, 1:]
        assert parts.shape[2] == len(model.part_names) == 1 + 12
        torch.testing.assert_close(parts.sum(dim=2), scores, rtol=1e-5, atol=1e-5)
        assert parts[:, :, 1:].abs().sum() > 0

    def test_the_weights_of_the_memory_learn_ten_times_as_fast(self, session):
        rest, fast = session.model.parameter_groups()
        assert fast["lr"] == pytest.approx(10 * session.config["learning_rate"])
        assert len(fast["params"]) == 3
        assert len(rest["params"]) == len(list(session.model.parameters())) - 3


class TestSASRecPlusWithMemoryOnPrefixes(ModelContract):
    model = "SASRecPlus"
    overrides = {
        **MEMORY,
        "train_mode": "prefix",
        "train_history": "exclude",
        "request_time": "target",
        "popularity": True,
    }


class TestSASRecPlusWithMemoryAndSampledSoftmax(ModelContract):
    model = "SASRecPlus"
    overrides = {**MEMORY, "n_negatives": 7, "memory_weights": "learned", "dense_dropout": 0.3}

    def test_rows_without_their_dense_part_are_scored_by_the_memory_alone(self, session):
        model, batch = session.model.train(), next(iter(session.train_data))
        encoded = model(model.read(batch, train=True), model.catalogue())
        kept = model.rows_to_score(encoded).vectors.abs().sum(dim=(1, 2)) > 0
        assert 0.5 < kept.float().mean() < 0.9  # 0.7 of some hundred rows
        assert model.eval().rows_to_score(encoded).vectors.equal(encoded.users.vectors)

    def test_validation_chooses_how_much_the_dense_part_counts(self, session):
        model = session.model.eval()
        scores = {0: 0.1, 0.25: 0.2, 0.5: 0.4, 0.75: 0.3, 1: 0.2}
        model.calibrate(lambda: scores[float(model.dense_weight.values[0])])
        batch = next(iter(session.valid_data))[0]
        encoded = model(model.read(batch, train=False), model.catalogue())
        assert model.rows_to_score(encoded).vectors.equal(0.5 * encoded.users.vectors)
        assert model.state_dict()["dense_weight.values"].tolist() == [0.5]
        model.dense_weight.values.fill_(1)


class TestGSASRecWithMemory(ModelContract):
    model = "gSASRec"
    overrides = {
        "hidden_size": 16,
        "MAX_ITEM_LIST_LENGTH": 11,
        "memory": "events",
        "train_targets": "visit",
        "n_negatives": 7,
    }


class TestHM4SRWithMemory(ModelContract):
    model = "HM4SR"
    overrides = {**MEMORY, "n_interactive_experts": 2, "n_temporal_experts": 2}
