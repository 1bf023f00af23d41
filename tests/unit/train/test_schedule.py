"""The learning rates of the steps: torch's schedulers and arithmetic."""

import math

import pytest
import torch
from arithmetic import GRADIENT, Arithmetic, TwoRates, fit, train_one_epoch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import RunSettings
from recbole_hm4sr.train.schedule import LearningRates


def rates_of(n_steps, **settings):
    """The rates of two groups, 0.1 and 1, in each step of the schedule and three more."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [weights[0]]}, {"params": [weights[1]], "lr": 1.0}], 0.1
    )
    rates = LearningRates(optimizer, RunSettings(**settings))
    found = []
    for step in range(settings["lr_epochs"] * n_steps + 3):
        rates.set(step, n_steps)
        found.append([group["lr"] for group in optimizer.param_groups])
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.3, 0.1, 0.5])
def test_one_cycle_is_torch_s(share):
    """10 steps an epoch, four epochs: 12, 4 or 20 rising steps."""
    found = rates_of(10, lr_schedule="one_cycle", lr_epochs=4, lr_warmup=share)[:40]
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weight]} for weight in weights], 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[0.1, 1.0], total_steps=40, pct_start=share, cycle_momentum=False
    )
    for rates in found:
        expected = torch.tensor([group["lr"] for group in optimizer.param_groups])
        torch.testing.assert_close(rates, expected.double(), rtol=1e-6, atol=0)
        optimizer.step()
        theirs.step()


def test_cosine_rises_along_a_line_and_falls_along_a_cosine():
    found = rates_of(5, lr_schedule="cosine", lr_epochs=4, lr_warmup=0.2)
    rising = [0.25, 0.5, 0.75, 1.0]
    falling = [(1 + math.cos(math.pi * step / 16)) / 2 for step in range(16)]
    expected = torch.tensor(rising + falling, dtype=torch.float64)
    torch.testing.assert_close(found[:20], expected[:, None] * torch.tensor([0.1, 1.0]).double())


def test_warmup_stays_at_its_top():
    found = rates_of(5, lr_schedule="warmup", lr_epochs=2, lr_warmup=0.4)
    assert found[:, 1].tolist() == [0.25, 0.5, 0.75, 1.0] + [1.0] * 9


def test_without_rising_steps_a_schedule_begins_at_its_top():
    for schedule in ("warmup", "cosine", "one_cycle"):
        assert rates_of(3, lr_schedule=schedule, lr_epochs=2, lr_warmup=0)[0].tolist() == [0.1, 1.0]


@pytest.mark.parametrize("schedule", ["warmup", "cosine", "one_cycle"])
def test_a_schedule_without_an_end_is_refused(session, schedule):
    rule = f"lr_epochs must be 1 or more with lr_schedule: {schedule}, got 0"
    with pytest.raises(ConfigError, match=rule):
        session(lr_schedule=schedule)


def test_each_step_moves_by_its_own_rate(session):
    """The rates of the first epoch rise by an n-th of 0.1, those of the second stay there."""
    opened = session(
        learner="sgd", learning_rate=0.1, lr_schedule="warmup", lr_epochs=1, lr_warmup=1.0
    )
    n = len(opened.train_data)
    for epoch in (0, 1):
        opened.trainer.train_epoch(opened.train_data, epoch)
    of_all_steps = sum((step + 1) / n for step in range(n)) + n
    expected = -0.1 * of_all_steps * GRADIENT
    torch.testing.assert_close(opened.model.weight.detach(), expected)


def test_a_run_ends_with_its_schedule_and_validates_the_last_epoch(session):
    opened = session(epochs=9, eval_step=2, lr_schedule="cosine", lr_epochs=5)
    trainer = fit(opened)
    assert [record.epoch for record in trainer.epochs] == [2, 4, 5]
    assert trainer.ended_by == "epochs"
    assert fit(session(epochs=3, lr_schedule="cosine", lr_epochs=5)).max_epochs == 3
    assert session(epochs=9, lr_schedule="warmup", lr_epochs=5).trainer.max_epochs == 9


def test_the_first_validation_may_be_a_later_one(session):
    def validated(**settings):
        return [record.epoch for record in fit(session(**settings)).epochs]

    assert validated(epochs=8, eval_from=3, eval_step=2) == [3, 5, 7]
    assert validated(epochs=3, eval_from=1, eval_step=2) == [1, 3]
    assert validated(epochs=2, eval_from=5) == [2]


@pytest.mark.parametrize(("learner", "factor"), [("adam", 2.0), ("rmsprop", 2.0), ("sgd", 4.0)])
def test_another_batch_scales_the_rates_of_all_groups(session, learner, factor):
    """Four times the targets a step: adaptive steps twice as long, plain ones four times."""
    opened = session(
        TwoRates, learner=learner, learning_rate=0.01, train_batch_size=64, lr_batch_size=16
    )
    rates = [group["lr"] for group in opened.trainer.optimizer.param_groups]
    assert rates == pytest.approx([0.01 * factor, factor])


def test_the_rate_is_as_set_without_the_batch_it_was_found_with(session):
    opened = session(Arithmetic, learner="sgd", learning_rate=0.1)
    train_one_epoch(opened)
    assert [group["lr"] for group in opened.trainer.optimizer.param_groups] == [0.1]
