"""Steps of a trainer on a model whose losses and gradients are arithmetic."""

import pytest
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from toydata import QUICK

from recbole_hm4sr.config.compose import build_config
from recbole_hm4sr.run.parts import build_parts

GRADIENT = torch.tensor([3.0, 4.0])  # of norm 5


class Arithmetic(SequentialRecommender):
    """In step s the losses are 2 s and 10; the weight's gradient is always (3, 4)."""

    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.steps = 0
        self.dtypes = set()

    def named_losses(self, interaction):
        self.steps += 1
        cpu = torch.is_autocast_enabled("cpu")
        self.dtypes.add(torch.get_autocast_dtype("cpu") if cpu else torch.float32)
        moved = (self.weight * GRADIENT).sum()
        return {"growing": 2.0 * self.steps + moved - moved.detach(), "fixed": moved * 0 + 10.0}

    def full_sort_predict(self, interaction):
        return torch.zeros(len(interaction), self.n_items)


@pytest.fixture
def session(toy_path, tmp_path):
    def open_with(**settings):
        config = build_config(
            Arithmetic,
            "toy",
            overrides={**QUICK, "data_path": str(toy_path), "use_gpu": False, **settings},
            checkpoint_dir=tmp_path / "checkpoint",
        )
        return build_parts(config, tmp_path, Arithmetic)

    return open_with


def train_one_epoch(session):
    return session.trainer._train_epoch(session.train_data, 0)


def test_recorded_losses_are_means_over_the_steps(session):
    opened = session()
    total = train_one_epoch(opened)
    n = opened.model.steps
    assert n == len(opened.train_data) > 2
    # 2, 4, ..., 2 n: mean n + 1. RecBole is given the sum over the steps.
    assert opened.trainer._losses == {"growing": n + 1.0, "fixed": 10.0}
    assert total == n * (n + 1.0) + 10.0 * n


@pytest.mark.parametrize(
    ("clip", "norm"), [(None, 5.0), ({"max_norm": 0.5}, 0.5), ({"max_norm": 50.0}, 5.0)]
)
def test_a_long_gradient_is_clipped_to_the_norm_asked_for(session, clip, norm):
    """By plain gradient descent: every step moves by the rate times the clipped gradient."""
    opened = session(learner="sgd", learning_rate=0.1, clip_grad_norm=clip)
    train_one_epoch(opened)
    expected = -0.1 * opened.model.steps * norm * GRADIENT / 5
    torch.testing.assert_close(opened.model.weight.detach(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("setting", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_losses_are_computed_in_mixed_precision_where_it_is_asked_for(session, setting, dtype):
    opened = session(enable_amp=setting)
    train_one_epoch(opened)
    assert opened.model.dtypes == {dtype}


def test_gradients_do_not_pile_up_over_the_steps(session):
    opened = session(learner="sgd")
    train_one_epoch(opened)
    torch.testing.assert_close(opened.model.weight.grad, GRADIENT)


def test_an_epoch_trains_with_dropout_and_validates_without(session):
    opened = session()
    opened.model.eval()
    train_one_epoch(opened)
    assert opened.model.training
    opened.trainer.measure(opened.valid_data)
    assert not opened.model.training


def test_a_trainer_that_is_closed_in_the_middle_of_an_epoch_leaves_no_bar(session, capsys):
    """As after Ctrl-C or an error, whose traceback holds the loop."""
    trainer = session().trainer
    steps = iter(trainer.step_bar.over([1, 2], "epoch 1", shown=True))
    next(steps)
    assert "epoch 1" in capsys.readouterr().err
    trainer.close()
    assert set(capsys.readouterr().err) == {"\r", " "}  # blanks over it
