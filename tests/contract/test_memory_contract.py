"""Any packed model keeps the contract with a memory and with the targets of a visit."""

import pytest
import torch

from recbole_hm4sr.testing.contract import ModelContract
from recbole_hm4sr.testing.toydata import write_toy_dataset

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

    def test_items_of_the_history_sum_to_their_relation(self, session, batch):
        model = session.model.eval()
        items = torch.arange(1, model.n_items).expand(len(batch), -1)
        with torch.no_grad():
            users, catalogue = model.ask(batch)
            users = catalogue.prepared(users)
            by_item = model.scorer.by_history_item(users, items)
            relations = model.scorer.parts(users, items)
            parts = model.history_parts(batch, items)
        assert by_item.shape == (*relations.shape, 10)
        torch.testing.assert_close(by_item.sum(dim=3), relations, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(by_item.sum(dim=2), parts, rtol=1e-5, atol=1e-6)
        # An item further back than the history goes adds nothing; the newest adds most often.
        outside = torch.arange(10) >= batch["item_length"][:, None]
        assert not by_item.permute(0, 3, 1, 2)[outside].any()
        assert by_item[..., 0].any()

    def test_an_item_of_the_history_adds_what_it_adds_alone(self, session, batch):
        model = session.model.eval()
        items = torch.arange(1, model.n_items).expand(len(batch), -1)
        until = batch["timestamp_list"].amax(dim=1)
        with torch.no_grad():
            users, catalogue = model.ask(batch)
            together = model.history_parts(batch, items)
            last = users.side["last_items"]
            for step in (0, 1, 2):
                alone = torch.where(torch.arange(10) == step, last, 0)
                users = users.with_side(last_items=alone, known_until=until)
                parts = model.scorer.parts(catalogue.prepared(users), items)
                torch.testing.assert_close(parts.sum(dim=2), together[..., step])
        with torch.no_grad():
            dense = model.dense_scores(batch, items)
            own = model.score_parts(batch, items)[..., 0]
        torch.testing.assert_close(dense, own, rtol=1e-5, atol=1e-6)

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
        tried = {}
        for choice in model.choices():
            with choice.entered():
                tried[choice.name] = scores[float(model.dense_weight.values[0])]
        assert list(tried.values()) == list(scores.values())
        model.choose(max(tried, key=tried.get))
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


def test_popularity_comes_from_no_item_of_the_history(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    parts = TestSASRecPlusWithMemoryOnPrefixes().open(tmp_path, tmp_path / "run")
    model, batch = parts.model.eval(), next(iter(parts.valid_data))[0]
    items = torch.arange(1, model.n_items).expand(len(batch), -1)
    with torch.no_grad():
        users, catalogue = model.ask(batch)
        users = catalogue.prepared(users)
        by_item = model.scorer.by_history_item(users, items)
        relations = model.scorer.parts(users, items)
    assert model.scorer.names[-1] == "popularity"
    assert relations[..., -1].any()
    assert not by_item[..., -1, :].any()
    torch.testing.assert_close(by_item[..., :-1, :].sum(dim=3), relations[..., :-1])


class TestHM4SRWithMemory(ModelContract):
    model = "HM4SR"
    overrides = {**MEMORY, "n_interactive_experts": 2, "n_temporal_experts": 2}
