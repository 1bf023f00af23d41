"""What every model of this package must do. A model's test file is a subclass of the contract."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from recbole.data.interaction import Interaction
from toydata import QUICK

from recbole_hm4sr.config.compose import build_config
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.model.registry import MODELS
from recbole_hm4sr.run.parts import build_parts


class RecommenderContract:
    """Not collected itself; a subclass sets ``model`` and, if it likes, ``overrides``."""

    model: str
    overrides: dict = {}

    def open(self, toy_path, tmp_path, **overrides):
        entry = MODELS[self.model]
        config = build_config(
            entry.model_class,
            "toy",
            settings_class=entry.settings_class,
            overrides={**QUICK, **self.overrides, "data_path": str(toy_path), **overrides},
            checkpoint_dir=tmp_path / "checkpoint",
        )
        return build_parts(config, tmp_path, entry.model_class)

    @pytest.fixture
    def session(self, toy_path, tmp_path):
        return self.open(toy_path, tmp_path)

    @pytest.fixture
    def train_batch(self, session):
        return next(iter(session.train_data))

    @pytest.fixture
    def batch(self, session):
        return next(iter(session.valid_data))[0]

    def test_the_loss_is_a_finite_scalar(self, session, train_batch):
        loss = session.model.train().calculate_loss(train_batch)
        assert loss.shape == ()
        assert torch.isfinite(loss)

    def test_every_parameter_that_is_trained_receives_a_gradient(self, session, train_batch):
        with torch.no_grad():  # away from the initial zeros, which hide parts behind them
            for parameter in session.model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        session.model.train().calculate_loss(train_batch).backward()
        trained = {n: p for n, p in session.model.named_parameters() if p.requires_grad}
        assert [name for name, p in trained.items() if p.grad is None] == []
        assert [name for name, p in trained.items() if not p.grad.abs().sum() > 0] == []

    def test_all_that_changes_the_scores_is_in_the_state(self, session, batch, toy_path, tmp_path):
        other = self.open(toy_path, tmp_path / "other", seed=7)
        session.model.eval(), other.model.eval()
        with torch.no_grad():
            expected = session.model.full_sort_predict(batch)
            assert not torch.equal(other.model.full_sort_predict(batch), expected)
            other.model.load_state_dict(session.model.state_dict())
            assert torch.equal(other.model.full_sort_predict(batch), expected)

    def test_predict_is_the_score_of_one_item(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            scores = model.full_sort_predict(batch)
            single = model.predict(batch)
        assert scores.shape == (len(batch), model.n_items)
        assert single.shape == (len(batch),)
        expected = scores.gather(1, batch["item_id"][:, None]).squeeze(1)
        torch.testing.assert_close(single, expected, rtol=1e-5, atol=1e-6)

    def test_no_score_is_nan_padding_item_included(self, session, batch):
        with torch.no_grad():
            assert not torch.isnan(session.model.eval().full_sort_predict(batch)).any()

    def test_a_row_does_not_depend_on_the_other_rows(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            together = model.full_sort_predict(batch)
            alone = torch.cat([model.full_sort_predict(batch[[row]]) for row in range(8)])
        torch.testing.assert_close(together[:8], alone, rtol=1e-5, atol=1e-6)

    def test_what_stands_in_the_padding_changes_nothing(self, session, batch):
        model = session.model.eval()
        padding = torch.arange(8) >= batch["item_length"][:, None]
        assert padding.any()
        columns = dict(batch.interaction)
        columns["timestamp_list"] = columns["timestamp_list"].masked_fill(padding, 12345)
        with torch.no_grad():
            expected = model.full_sort_predict(batch)
            assert torch.equal(model.full_sort_predict(Interaction(columns)), expected)

    def test_evaluation_is_deterministic(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            assert torch.equal(model.full_sort_predict(batch), model.full_sort_predict(batch))

    def test_the_same_seed_gives_the_same_loss(self, session, train_batch):
        losses = []
        for _ in range(2):
            torch.manual_seed(3)
            losses.append(session.model.train().calculate_loss(train_batch))
        assert torch.equal(*losses)

    def test_the_interaction_is_not_changed(self, session, train_batch):
        before = copy.deepcopy(train_batch.interaction)
        session.model.train().calculate_loss(train_batch)
        assert before.keys() == train_batch.interaction.keys()
        assert all(torch.equal(before[name], train_batch[name]) for name in before)

    def test_double_precision_scores_agree_with_single(self, session, batch):
        model = session.model.eval()
        with torch.no_grad():
            single = model.full_sort_predict(batch)
            double = copy.deepcopy(model).double().full_sort_predict(batch)
        assert double.dtype == torch.float64
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)

    def test_scores_follow_a_changed_weight(self, session, batch):
        """Nothing that is kept between evaluations may outlive the weights it was made from."""
        model = session.model.eval()
        with torch.no_grad():
            before = model.full_sort_predict(batch).clone()
            model.item_embedding.weight.add_(1.0)
            assert not torch.equal(model.full_sort_predict(batch), before)

    def test_a_modality_is_shuffled_while_the_context_lasts(self, session, batch):
        model = session.model.eval()
        if not model.modalities:
            return
        with torch.no_grad():
            right = model.full_sort_predict(batch)
            for name in model.modalities:
                scores = []
                for seed in (1, 1, 2):
                    with model.permuted_modality(name, torch.Generator().manual_seed(seed)):
                        scores.append(model.full_sort_predict(batch))
                assert torch.equal(scores[0], scores[1])
                assert not torch.allclose(scores[0], scores[2])
                assert not torch.allclose(scores[0], right)
                assert torch.equal(model.full_sort_predict(batch), right)

    def test_settings_survive_yaml(self, session):
        cls = MODELS[self.model].settings_class
        settings = read_settings(session.config, cls)
        text = yaml.safe_dump(dataclasses.asdict(settings))
        assert read_settings(yaml.safe_load(text), cls) == settings

    def test_frozen_features_are_not_in_the_checkpoint(self, session):
        features = {name for name, _ in session.model.named_buffers() if ".table." in name}
        assert not features & set(session.model.state_dict())

    def test_the_model_names_no_device(self):
        source = Path(
            __import__(MODELS[self.model].model_class.__module__, fromlist=["_"]).__file__
        )
        assert "cuda" not in source.read_text(encoding="utf-8")
