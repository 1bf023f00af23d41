"""HM4SR keeps the contract, with and without its parts."""

import pytest
import torch
from contract.recommender import RecommenderContract

from recbole_hm4sr.model.hm4sr.model import HM4SR
from recbole_hm4sr.model.registry import find_model

SMALL = {"hidden_size": 16, "inner_size": 32, "n_interactive_experts": 2}


class TestHM4SR(RecommenderContract):
    model = "HM4SR"
    overrides = SMALL

    def test_the_padding_row_starts_at_zero(self, session):
        assert session.model.item_embedding.weight[0].abs().sum() == 0

    def test_temporal_experts_are_left_alone_when_told_so(self, toy_path, tmp_path):
        session = self.open(toy_path, tmp_path, train_temporal_experts=False)
        before = session.model.temporal_moe.experts.clone()
        session.trainer.fit(session.train_data, session.valid_data, verbose=False)
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


class TestHM4SROnPrefixes(RecommenderContract):
    model = "HM4SR"
    overrides = {**SMALL, "train_mode": "prefix"}


class TestHM4SRWithSampledSoftmax(RecommenderContract):
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


class TestHM4SRWithoutModalities(RecommenderContract):
    model = "HM4SR"
    overrides = {**SMALL, "modalities": {}, "category_field": None}


class TestHM4SRWithoutParts(RecommenderContract):
    model = "HM4SR"
    overrides = {
        **SMALL,
        "use_interactive_moe": False,
        "use_temporal_moe": False,
        "id_contrastive_weight": 0,
        "category_prediction_weight": 0,
        "placeholder_weight": 0,
    }

    def test_no_parameter_of_a_part_remains(self, session):
        parts = ("moe", "time_encoding", "category_layer", "placeholder")
        names = [name for name, _ in session.model.named_parameters()]
        assert [name for name in names if any(part in name for part in parts)] == []


@pytest.mark.parametrize("train", [False, True])
def test_with_all_parts_off_it_is_the_sasrec_of_recbole(toy_path, tmp_path, train):
    contract = RecommenderContract()
    contract.model = "HM4SR"
    overrides = {
        **TestHM4SRWithoutParts.overrides,
        "modalities": {},
        "train_mode": "prefix",
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
    }
    session = contract.open(toy_path, tmp_path, **overrides)
    ours = session.model.double()
    config = {**session.config.final_config_dict, "loss_type": "CE"}
    sasrec = find_model("SASRec").model_class(config, session.train_data._dataset).double()
    theirs = sasrec.state_dict()
    assert isinstance(ours, HM4SR)
    ours.load_state_dict(weights_of_sasrec(theirs, ours.settings.n_layers))
    batch = next(iter(session.train_data))
    if train:
        losses = [model.train().calculate_loss(batch) for model in (ours, sasrec)]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
        for loss in losses:
            loss.backward()
        expected = sasrec.item_embedding.weight.grad
        torch.testing.assert_close(ours.item_embedding.weight.grad, expected, rtol=1e-9, atol=1e-12)
    else:
        with torch.no_grad():
            scores = [model.eval().full_sort_predict(batch) for model in (ours, sasrec)]
        torch.testing.assert_close(scores[0], scores[1], rtol=1e-9, atol=1e-12)


def weights_of_sasrec(theirs, n_layers):
    """RecBole's names to ours."""
    parts = {
        "attention.query": "multi_head_attention.query",
        "attention.key": "multi_head_attention.key",
        "attention.value": "multi_head_attention.value",
        "attention.output": "multi_head_attention.dense",
        "attention_norm": "multi_head_attention.LayerNorm",
        "feed_forward.inner": "feed_forward.dense_1",
        "feed_forward.output": "feed_forward.dense_2",
        "feed_forward.norm": "feed_forward.LayerNorm",
    }
    ours = {
        "item_embedding.weight": theirs["item_embedding.weight"],
        "position_embedding.weight": theirs["position_embedding.weight"],
    }
    for leaf in ("weight", "bias"):
        ours[f"input_norms.id.{leaf}"] = theirs[f"LayerNorm.{leaf}"]
        for layer in range(n_layers):
            for part, name in parts.items():
                value = theirs[f"trm_encoder.layer.{layer}.{name}.{leaf}"]
                ours[f"encoders.id.layers.{layer}.{part}.{leaf}"] = value
    return ours
