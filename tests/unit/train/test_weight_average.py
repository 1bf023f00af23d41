"""The moving average of the weights: its recursion, and that a run measures and keeps it."""

import shutil

import pytest
import torch
from arithmetic import GRADIENT, Arithmetic, fit

from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.weight_average import WeightAverage

SETTINGS = {"learner": "sgd", "learning_rate": 0.1, "ema_decay": 0.4, "epochs": 2}


def averages(n_steps, decay):
    """By the recursion: after step t of gradient descent the weight is -0.1 t times (3, 4)."""
    average, found = torch.zeros(2, dtype=torch.float64), []
    for step in range(1, n_steps + 1):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * -0.1 * step * GRADIENT.double()
        found.append(average)
    return found


def weight_in(path):
    return read_checkpoint(path)["state_dict"]["weight"].double()


def test_the_average_is_the_recursion_and_the_model_keeps_its_own_weights(session):
    opened = session(**SETTINGS)
    n = len(opened.train_data)
    trainer = fit(opened)
    assert 2 * n > 5  # from step 5 on (1 + t) / (10 + t) is above 0.4: both decays occur
    expected = averages(2 * n, 0.4)[-1]
    trained = -0.1 * 2 * n * GRADIENT
    torch.testing.assert_close(opened.model.weight.detach(), trained)
    with trainer.average.in_model():
        torch.testing.assert_close(opened.model.weight.detach().double(), expected)
    torch.testing.assert_close(opened.model.weight.detach(), trained)


class Noting(Arithmetic):
    """Notes its weight whenever it scores."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scored_with = []

    def full_sort_predict(self, interaction):
        self.scored_with.append(self.weight.detach().clone())
        return super().full_sort_predict(interaction)


def test_the_average_is_what_is_validated_and_kept(session):
    opened = session(Noting, **SETTINGS)
    n = len(opened.train_data)
    trainer = fit(opened)
    of_epochs = [averages(2 * n, 0.4)[n - 1], averages(2 * n, 0.4)[-1]]
    n_batches = len(opened.valid_data)
    for number, weight in enumerate(opened.model.scored_with):
        torch.testing.assert_close(weight.double(), of_epochs[number // n_batches])
    checkpoints = trainer.files.checkpoints
    torch.testing.assert_close(weight_in(checkpoints.best), of_epochs[1])  # a tie is an improvement
    torch.testing.assert_close(weight_in(checkpoints.previous), of_epochs[0])
    trainer.load_best()
    torch.testing.assert_close(opened.model.weight.detach().double(), of_epochs[1])


def test_weights_and_average_resume_exactly(session):
    whole = session(**{**SETTINGS, "epochs": 3})
    fit(whole)
    trained, average = whole.model.weight.tolist(), weight_in(whole.trainer.files.checkpoints.last)
    checkpoints = whole.trainer.files.checkpoints
    shutil.copy(checkpoints.previous, checkpoints.last)
    resumed = session(**{**SETTINGS, "epochs": 3})
    assert resumed.trainer.resume(resumed.train_data, resumed.valid_data)
    assert resumed.trainer.start_epoch == 2
    fit(resumed)
    assert resumed.model.weight.tolist() == trained
    assert weight_in(resumed.trainer.files.checkpoints.last).tolist() == average.tolist()


def test_a_run_without_it_keeps_no_second_weights(session):
    trainer = fit(session(epochs=1))
    assert trainer.average is None
    assert "average" not in read_checkpoint(trainer.files.checkpoints.last)


def test_frozen_weights_are_not_averaged():
    model = torch.nn.Linear(1, 1)
    model.weight.requires_grad_(False)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(7.0)
        model.bias.fill_(1.0)
    average.update()
    with average.in_model():
        assert model.weight.item() == 7.0
        assert model.bias.item() != pytest.approx(1.0)
