"""Models whose losses, gradients and scores are arithmetic, and their epochs."""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

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


class TwoRates(Arithmetic):
    """A second weight that learns ten times as fast."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.fast = torch.nn.Parameter(torch.zeros(2))

    def named_losses(self, interaction):
        self.steps += 1
        return {"moved": ((self.weight + self.fast) * GRADIENT).sum()}

    def parameter_groups(self):
        return [{"params": [self.weight]}, {"params": [self.fast], "lr": 1.0}]


def train_one_epoch(session):
    return session.trainer.train_epoch(session.train_data, 0)


def fit(opened):
    opened.trainer.fit(opened.train_data, opened.valid_data)
    return opened.trainer
