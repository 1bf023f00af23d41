"""What every model must do, as tests: a model's test file is a subclass of the contract.

>>> class TestMeanRec(ModelContract):
...     model = "MeanRec"

A model that is fitted once and has no parameters keeps :class:`ClosedFormContract`.
"""

import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.base.errors import TrainingError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.serving_data import count_items
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.parts import RunParts, build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset


class ScoringContract:
    """What every model that scores must do; not collected itself.

    A test of what a model does not have (settings of its own, modalities) passes without a check.

    Attributes:
        model: Name of the model, as ``--model`` takes it.
        overrides: Settings that the tests run with, besides small ones for speed.
    """

    model: str
    overrides: Mapping[str, Any] = MappingProxyType({})

    def open(self, toy_path: Path, run_dir: Path, **overrides: Any) -> RunParts:
        """The data, the model with initial weights and the trainer of a run on the toy data set."""
        values = {**QUICK, **self.overrides, "data_path": str(toy_path), **overrides}
        return build_parts(compose(find_model(self.model), "toy", overrides=values), run_dir)

    @pytest.fixture(scope="class")
    @classmethod
    def toy_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The folder above the toy data set."""
        path = tmp_path_factory.mktemp("atomic")
        write_toy_dataset(path / "toy")
        return path

    @pytest.fixture
    def session(self, toy_path: Path, tmp_path: Path) -> RunParts:
        """A run that has not begun."""
        return self.open(toy_path, tmp_path)

    @pytest.fixture
    def batch(self, session: RunParts) -> Any:
        """The first batch of the validation part."""
        return next(iter(session.valid_data))[0]

    def test_predict_is_the_score_of_one_item(self, session: RunParts, batch: Any) -> None:
        """``predict`` and ``full_sort_predict`` agree."""
        model = session.model.eval()
        with torch.no_grad():
            scores = _scores(model, batch)
            try:
                single = model.predict(batch)
            except NotImplementedError:
                pytest.skip("the model scores all items at once, and no single one")
        assert scores.shape == (len(batch), model.n_items)
        assert single.shape == (len(batch),)
        expected = scores.gather(1, batch[model.ITEM_ID][:, None]).squeeze(1)
        torch.testing.assert_close(single, expected, rtol=1e-5, atol=1e-6)

    def test_no_score_is_nan_padding_item_included(self, session: RunParts, batch: Any) -> None:
        """Ranks would be those of nothing."""
        with torch.no_grad():
            assert not torch.isnan(session.model.eval().full_sort_predict(batch)).any()

    def test_a_row_does_not_depend_on_the_other_rows(self, session: RunParts, batch: Any) -> None:
        """A user's scores are the same alone as in a batch."""
        model = session.model.eval()
        with torch.no_grad():
            together = _scores(model, batch)
            alone = torch.cat([_scores(model, batch[[row]]) for row in range(8)])
        torch.testing.assert_close(together[:8], alone, rtol=1e-5, atol=1e-6)

    def test_what_stands_in_the_padding_changes_nothing(
        self, session: RunParts, batch: Any
    ) -> None:
        """Times behind the end of a history are no times."""
        model, config = session.model.eval(), session.config
        times = config["TIME_FIELD"] + config["LIST_SUFFIX"]
        width = batch[times].shape[1]
        padding = torch.arange(width) >= batch[config["ITEM_LIST_LENGTH_FIELD"]][:, None]
        assert padding.any()
        columns = dict(batch.interaction)
        columns[times] = columns[times].masked_fill(padding, 12345)
        with torch.no_grad():
            expected = model.full_sort_predict(batch)
            assert torch.equal(model.full_sort_predict(Interaction(columns)), expected)

    def test_evaluation_is_deterministic(self, session: RunParts, batch: Any) -> None:
        """The same batch has the same scores twice."""
        model = session.model.eval()
        with torch.no_grad():
            assert torch.equal(model.full_sort_predict(batch), model.full_sort_predict(batch))

    def test_double_precision_scores_agree_with_single(self, session: RunParts, batch: Any) -> None:
        """No part keeps a precision of its own."""
        model = session.model.eval()
        with torch.no_grad():
            single = model.full_sort_predict(batch)
            double = copy.deepcopy(model).double().full_sort_predict(batch)
        assert double.dtype == torch.float64
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)

    def test_a_modality_is_shuffled_while_the_context_lasts(
        self, session: RunParts, batch: Any
    ) -> None:
        """With ``permuted_modality``: other scores by each seed, then the same as before."""
        model = session.model.eval()
        modalities = getattr(model, "modalities", ()) if hasattr(model, "permuted_modality") else ()
        with torch.no_grad():
            right = model.full_sort_predict(batch)
            for name in modalities:
                scores = []
                for seed in (1, 1, 2):
                    with model.permuted_modality(name, torch.Generator().manual_seed(seed)):
                        scores.append(model.full_sort_predict(batch))
                assert torch.equal(scores[0], scores[1])
                assert not torch.allclose(scores[0], scores[2])
                assert not torch.allclose(scores[0], right)
                assert torch.equal(model.full_sort_predict(batch), right)

    def test_settings_survive_yaml(self, session: RunParts) -> None:
        """A run's folder keeps the settings of its model as YAML."""
        cls = find_model(self.model).settings_class
        if cls is None:
            return
        settings = read_settings(session.config, cls)
        text = yaml.safe_dump(settings.model_dump())
        assert read_settings(yaml.safe_load(text), cls) == settings

    def test_frozen_features_are_not_in_the_checkpoint(self, session: RunParts) -> None:
        """They are read from the data set, and would make each checkpoint as large as it."""
        features = {name for name, _ in session.model.named_buffers() if "features" in name}
        assert not features & set(session.model.state_dict())

    def test_the_model_names_no_device(self) -> None:
        """Where a model computes is the run's to say."""
        source = inspect.getsourcefile(find_model(self.model).model_class)
        assert source is not None
        assert "cuda" not in Path(source).read_text(encoding="utf-8")


class ModelContract(ScoringContract):
    """What a model must do that is trained; a subclass is collected, and names its model."""

    @pytest.fixture
    def train_batch(self, session: RunParts) -> Any:
        """The first batch of the training part."""
        return next(iter(session.train_data))

    def test_the_loss_is_a_finite_scalar(self, session: RunParts, train_batch: Any) -> None:
        """Its shape is [], its value a number."""
        loss = session.model.train().calculate_loss(train_batch)
        assert loss.shape == ()
        assert torch.isfinite(loss)

    def test_every_parameter_that_is_trained_receives_a_gradient(
        self, session: RunParts, train_batch: Any
    ) -> None:
        """A parameter without one is dead weight, or was forgotten in the loss."""
        _disturb(session.model)  # away from the initial zeros, which hide parts behind them
        session.model.train().calculate_loss(train_batch).backward()
        trained = {n: p for n, p in session.model.named_parameters() if p.requires_grad}
        assert [name for name, p in trained.items() if p.grad is None] == []
        assert [name for name, p in trained.items() if not p.grad.abs().sum() > 0] == []

    def test_all_that_changes_the_scores_is_in_the_state(
        self, session: RunParts, batch: Any, toy_path: Path, tmp_path: Path
    ) -> None:
        """Another model with the same state gives the same scores, to the last bit."""
        other = self.open(toy_path, tmp_path / "other", seed=7)
        session.model.eval()
        other.model.eval()
        with torch.no_grad():
            expected = session.model.full_sort_predict(batch)
            assert not torch.equal(other.model.full_sort_predict(batch), expected)
            other.model.load_state_dict(session.model.state_dict())
            assert torch.equal(other.model.full_sort_predict(batch), expected)

    def test_the_same_seed_gives_the_same_loss(self, session: RunParts, train_batch: Any) -> None:
        """All random numbers are torch's."""
        losses = []
        for _ in range(2):
            torch.manual_seed(3)
            losses.append(session.model.train().calculate_loss(train_batch))
        assert torch.equal(*losses)

    def test_the_parts_of_a_score_add_up_to_it(self, session: RunParts, batch: Any) -> None:
        """For the same items of all sequences, and for each sequence's own."""
        if not hasattr(session.model, "score_parts"):
            pytest.skip("the model does not tell the parts of its scores")
        model, items = session.model.eval(), torch.arange(1, session.model.n_items)
        with torch.no_grad():
            scores = model.full_sort_predict(batch)[:, 1:]
            parts = model.score_parts(batch, items)
        assert parts.shape == (len(batch), len(items), len(model.part_names))
        torch.testing.assert_close(parts.sum(dim=2), scores, rtol=1e-5, atol=1e-6)
        own = items.flip(0).expand(len(batch), -1)[:, :5]
        with torch.no_grad():
            of_own = model.score_parts(batch, own)
        torch.testing.assert_close(of_own, parts.flip(1)[:, :5], rtol=1e-5, atol=1e-6)

    def test_the_interaction_is_not_changed(self, session: RunParts, train_batch: Any) -> None:
        """A batch may be read again."""
        before = copy.deepcopy(train_batch.interaction)
        session.model.train().calculate_loss(train_batch)
        assert before.keys() == train_batch.interaction.keys()
        assert all(torch.equal(before[name], train_batch[name]) for name in before)

    def test_scores_follow_a_changed_weight(self, session: RunParts, batch: Any) -> None:
        """Nothing that is kept between evaluations may outlive the weights it was made from."""
        model = session.model.eval()
        with torch.no_grad():
            before = model.full_sort_predict(batch).clone()
            _disturb(model)
            assert not torch.equal(model.full_sort_predict(batch), before)


class ClosedFormContract(ScoringContract):
    """What a model must do that is fitted once; a subclass is collected, and names its model."""

    @pytest.fixture
    def session(self, toy_path: Path, tmp_path: Path) -> RunParts:
        """A run whose model has been fitted."""
        return self._fitted(self.open(toy_path, tmp_path))

    @staticmethod
    def _fitted(parts: RunParts) -> RunParts:
        parts.model.fit(parts.train_data._dataset)
        return parts

    def test_it_has_no_parameters(self, session: RunParts) -> None:
        """There is nothing to train."""
        assert list(session.model.parameters()) == []

    def test_all_that_changes_the_scores_is_in_the_state(
        self, session: RunParts, batch: Any, toy_path: Path, tmp_path: Path
    ) -> None:
        """A model that was never fitted gives the same scores with it, to the last bit."""
        other = self.open(toy_path, tmp_path / "other", seed=7).model
        with pytest.raises(TrainingError, match="must be fitted"):
            other.full_sort_predict(batch)
        other.load_state_dict(session.model.state_dict())
        assert torch.equal(other.full_sort_predict(batch), session.model.full_sort_predict(batch))

    def test_a_fit_depends_on_the_data_alone(
        self, session: RunParts, batch: Any, toy_path: Path, tmp_path: Path
    ) -> None:
        """Another seed gives the same scores, to the last bit."""
        other = self._fitted(self.open(toy_path, tmp_path / "other", seed=7)).model
        assert torch.equal(other.full_sort_predict(batch), session.model.full_sort_predict(batch))

    def test_equal_scores_rank_by_frequency_then_number(
        self, session: RunParts, batch: Any
    ) -> None:
        """The best items and the ranks are those of one order of all items."""
        model, data = session.model, session.train_data._dataset
        counts = count_items(data)
        scores = model.full_sort_predict(batch).double().numpy()
        numbers = np.arange(1, model.n_items)
        expected = np.stack(
            [numbers[np.lexsort((numbers, -counts[1:], -row[1:]))] for row in scores]
        )
        _, top = model.top_items(batch, model.n_items - 1)
        assert np.array_equal(top.numpy(), expected)
        for place in (0, 3, model.n_items - 2):
            ranks, _ = model.rank_targets(batch, torch.from_numpy(expected[:, place].copy()))
            assert ranks.tolist() == [place + 1] * len(batch)

    def test_the_interaction_is_not_changed(self, session: RunParts, batch: Any) -> None:
        """A batch may be read again."""
        before = copy.deepcopy(batch.interaction)
        session.model.full_sort_predict(batch)
        assert all(torch.equal(before[name], batch[name]) for name in before)


def _scores(model: Any, batch: Any) -> Tensor:
    """Scores of all items; some models of RecBole give them in one row."""
    scores: Tensor = model.full_sort_predict(batch)
    return scores.view(len(batch), -1)


@torch.no_grad()
def _disturb(model: Any) -> None:
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
