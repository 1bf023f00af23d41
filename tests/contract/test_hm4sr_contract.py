"""HM4SR keeps the contract, with and without its parts."""

import torch
from parity.recorded_cases import NO_PARTS

from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32, "n_interactive_experts": 2}


class TestHM4SR(ModelContract):
    model = "HM4SR"
    overrides = SMALL

    def test_the_padding_row_starts_at_zero(self, session):
        assert session.model.item_embedding.weight[0].abs().sum() == 0

    def test_temporal_experts_are_left_alone_when_told_so(self, toy_path, tmp_path):
        session = self.open(toy_path, tmp_path, train_temporal_experts=False)
        before = session.model.temporal_moe.experts.clone()
        session.trainer.fit(session.train_data, session.valid_data)
        assert torch.equal(session.model.temporal_moe.experts, before)

    def test_an_evaluation_projects_the_catalogue_once(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            first = model.catalogue()
            assert model.catalogue() is first
        assert model.catalogue() is not first  # with gradients it must be part of the graph

    def test_the_parts_of_a_score_add_up_to_it(self, session, batch):
        model = session.model.double().eval()
        items = torch.arange(1, 6).expand(len(batch), 5)
        with torch.no_grad():
            parts = model.score_parts(batch, items)
            scores = model.full_sort_predict(batch)
            same = model.score_parts(batch, items[0])
        assert parts.shape == (len(batch), 5, len(model.streams))
        torch.testing.assert_close(parts.sum(dim=2), scores[:, 1:6], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(same, parts, rtol=1e-9, atol=1e-12)

    def test_a_shuffled_modality_scores_as_its_features_in_that_order_do(self, session, batch):
        model = session.model.eval()
        order = 1 + torch.randperm(model.n_items - 1, generator=torch.Generator().manual_seed(3))
        order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
        with torch.no_grad():
            with model.permuted_modality("text", torch.Generator().manual_seed(3)):
                shuffled = model.full_sort_predict(batch)
            values = model.projections["text"].table.values
            values.copy_(values[order])
            model.eval()  # forgets the catalogue of before
            assert torch.equal(model.full_sort_predict(batch), shuffled)


class TestHM4SROnPrefixes(ModelContract):
    model = "HM4SR"
    overrides = {**SMALL, "train_mode": "prefix"}


class TestHM4SRWithSampledSoftmax(ModelContract):
    model = "HM4SR"
    overrides = {**SMALL, "n_negatives": 7}

    def test_scores_with_gradients_are_those_without(self, session, batch):
        """The features of all items are taken, which are not kept in memory."""
        model = session.model.eval()
        scores = model.full_sort_predict(batch)
        with torch.no_grad():
            expected = model.full_sort_predict(batch)
        torch.testing.assert_close(scores, expected)
        scores.sum().backward()
        assert all(layer.weight.grad.abs().sum() > 0 for layer in model.projections.values())

    def test_a_step_reads_the_features_of_what_it_shows_only(self, session, train_batch):
        model = session.model.train()
        taken = []
        for part in model.projections.values():
            table = part.table
            take = table._take
            table._take = lambda items, take=take: taken.append(items) or take(items)
        model.calculate_loss(train_batch)
        shown = torch.unique(train_batch[model.ITEM_SEQ]).tolist()
        for items in taken:
            assert len(items) == len(set(items.tolist()))
            assert len(items) <= len(shown) + len(train_batch) * 20 + 7
        assert len(taken) == len(model.modalities)

    def test_it_scores_as_the_exact_model_of_the_same_weights(self, session, toy_path, tmp_path):
        exact = self.open(toy_path, tmp_path / "exact", n_negatives=0)
        exact.model.load_state_dict(session.model.state_dict())
        batch = next(iter(session.valid_data))[0]
        with torch.no_grad():
            scores = [run.model.eval().full_sort_predict(batch) for run in (session, exact)]
        torch.testing.assert_close(*scores)


class TestHM4SRWithoutModalities(ModelContract):
    model = "HM4SR"
    overrides = {**SMALL, "modalities": {}, "category_field": None}


class TestHM4SRWithoutParts(ModelContract):
    model = "HM4SR"
    overrides = {**SMALL, **NO_PARTS}

    def test_no_parameter_of_a_part_remains(self, session):
        parts = ("moe", "time_encoding", "category_layer", "placeholder")
        names = [name for name, _ in session.model.named_parameters()]
        assert [name for name in names if any(part in name for part in parts)] == []
