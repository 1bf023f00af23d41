"""Epochs and steps of a trainer on models whose losses, gradients and scores are arithmetic."""

import shutil

import pytest
import torch
from arithmetic import GRADIENT, Arithmetic, TwoRates, fit, train_one_epoch
from recbole.trainer import trainer as recbole_trainer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.train.costs import Costs


def test_recorded_losses_are_means_over_the_steps(session):
    opened = session()
    losses = train_one_epoch(opened)
    n = opened.model.steps
    assert n == len(opened.train_data) > 2
    assert losses == {"growing": n + 1.0, "fixed": 10.0}  # 2, 4, ..., 2 n: mean n + 1


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
    opened.trainer.evaluator.measure(opened.valid_data)
    assert not opened.model.training


class Spent:
    """A meter whose budget is spent after so many epochs."""

    def __init__(self, n):
        self.left = n

    @property
    def is_spent(self):
        self.left -= 1
        return self.left < 0

    def costs(self):
        return Costs()


@pytest.mark.parametrize(
    ("n_paid", "settings", "n_epochs", "ended_by"),
    [
        (1, {"epochs": 5}, 2, "budget"),
        (9, {"epochs": 2}, 2, "epochs"),
        (9, {"epochs": 9, "stopping_step": 2}, 3, "validation"),
    ],
)
def test_training_ends_with_its_budget_too(session, n_paid, settings, n_epochs, ended_by):
    """All scores are equal: a best epoch is no worse than the one before, until none counts."""
    opened = session(**settings)
    if ended_by == "validation":
        opened.trainer.bests.first.judge({opened.config["valid_metric"].lower(): 2.0})
    opened.trainer._meter = Spent(n_paid)
    opened.trainer.fit(opened.train_data, opened.valid_data)
    assert len(opened.trainer.epochs) == n_epochs
    assert opened.trainer.ended_by == ended_by


def test_a_trainer_that_is_closed_in_the_middle_of_an_epoch_leaves_no_bar(session, capsys):
    """As after Ctrl-C or an error, whose traceback holds the loop."""
    trainer = session(show_progress=True).trainer
    steps = iter(trainer._step_bar.over([1, 2], "epoch 1"))
    next(steps)
    assert "epoch 1" in capsys.readouterr().err
    trainer.close()
    assert set(capsys.readouterr().err) == {"\r", " "}  # blanks over it


class Script(Arithmetic):
    """Notes what is asked of it; its scores rank the targets as the script says, epoch by epoch."""

    hits = (1, 0, 0, 1, 0, 0)

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.asked = []

    def begin_epoch(self, epoch, data):
        self.asked.append(("epoch", epoch, len(data)))

    def named_losses(self, interaction):
        self.asked.append("step")
        return super().named_losses(interaction)

    def full_sort_predict(self, interaction):
        self.asked.append("scores")
        scores = torch.zeros(len(interaction), self.n_items)
        epoch = sum(isinstance(asked, tuple) for asked in self.asked)
        if self.hits[epoch - 1]:
            scores[torch.arange(len(interaction)), interaction["item_id"]] = 1.0
        return scores


def test_a_model_is_told_of_each_epoch_before_its_first_step(session):
    opened = session(Script, epochs=2)
    fit(opened)
    n_steps, n_batches = len(opened.train_data), len(opened.valid_data)
    n_samples = len(opened.train_data._dataset)
    expected = []
    for epoch in (1, 2):
        expected += [("epoch", epoch, n_samples), *["step"] * n_steps, *["scores"] * n_batches]
    assert opened.model.asked == expected


def test_training_ends_when_validation_has_not_improved_and_a_tie_is_an_improvement(session):
    """Hits 1, 0, 0, 1, 0, 0: with two bad epochs allowed, the fourth equals the first."""
    trainer = fit(session(Script, epochs=6, stopping_step=2))
    assert [record.epoch for record in trainer.epochs] == [1, 2, 3, 4, 5, 6]
    assert [record.is_best for record in trainer.epochs] == [True, False, False, True, False, False]
    assert trainer.best_epoch() == 4
    trainer = fit(session(Script, epochs=6, stopping_step=1))
    assert [record.epoch for record in trainer.epochs] == [1, 2, 3]
    assert trainer.finished
    assert trainer.bests.first.score == 1.0
    assert trainer.bests.first.valid == trainer.epochs[0].valid


def test_validation_every_second_epoch(session):
    trainer = fit(session(Script, epochs=5, eval_step=2))
    assert [record.epoch for record in trainer.epochs] == [2, 4]
    assert [record.is_best for record in trainer.epochs] == [True, True]


def test_a_model_s_parameter_groups_learn_at_their_own_rates(session):
    opened = session(TwoRates, learner="sgd", learning_rate=0.1)
    train_one_epoch(opened)
    n = opened.model.steps
    torch.testing.assert_close(opened.model.weight.detach(), -0.1 * n * GRADIENT)
    torch.testing.assert_close(opened.model.fast.detach(), -1.0 * n * GRADIENT)


def test_parameter_groups_resume_exactly(session):
    whole = session(TwoRates, epochs=3)
    fit(whole)
    final = {name: value.clone() for name, value in whole.model.state_dict().items()}
    shutil.copy(whole.trainer.files.checkpoints.previous, whole.trainer.files.checkpoints.last)
    resumed = session(TwoRates, epochs=3)
    assert resumed.trainer.resume(resumed.train_data, resumed.valid_data)
    assert resumed.trainer.start_epoch == 2
    fit(resumed)
    rates = [group["lr"] for group in resumed.trainer.optimizer.param_groups]
    assert rates == [resumed.config["learning_rate"], 1.0]
    assert {name: value.tolist() for name, value in resumed.model.state_dict().items()} == {
        name: value.tolist() for name, value in final.items()
    }


@pytest.mark.parametrize("held", [["weight"], ["weight", "fast", "fast"]])
def test_parameter_groups_that_leave_a_weight_out_or_name_it_twice_are_refused(session, held):
    class Wrong(TwoRates):
        def parameter_groups(self):
            return [{"params": [getattr(self, name)]} for name in held]

    with pytest.raises(ConfigError, match=r"must hold every trained parameter once, .*: fast$"):
        session(Wrong)


@pytest.mark.parametrize("learner", ["adagrad", "adam", "adamw", "rmsprop", "sgd"])
def test_the_optimizer_is_recbole_s(session, learner, tmp_path, monkeypatch):
    opened = session(learner=learner, learning_rate=0.02, weight_decay=0.3)
    monkeypatch.setattr(recbole_trainer, "get_tensorboard", lambda logger: None)
    opened.config["checkpoint_dir"] = str(tmp_path / "saved")
    theirs = recbole_trainer.Trainer(opened.config, opened.model).optimizer
    ours = opened.trainer.optimizer
    assert type(ours) is type(theirs)
    (group,), (their_group,) = ours.param_groups, theirs.param_groups
    if learner in ("adam", "adamw"):  # one kernel for all parameters
        assert group["fused"] is True
        their_group = {**their_group, "fused": True}
    assert {**group, "params": None} == {**their_group, "params": None}
    assert all(a is b for a, b in zip(group["params"], their_group["params"], strict=True))
