"""Rank the targets of some weeks by a model as it is."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.evaluate.evaluator import Evaluator
from recbole_hm4sr.evaluate.groups import group_masks
from recbole_hm4sr.evaluate.ranks import Ranks, describe_samples
from recbole_hm4sr.later.choosing import ranking_of
from recbole_hm4sr.later.learning import Learner

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Judged:
    """The ranks of targets, and what tables group them by.

    Attributes:
        ranks: In the order of the targets.
        columns: Of :func:`~recbole_hm4sr.evaluate.ranks.describe_samples`; "in training" is what
            was known at the cut.
        evaluator: Makes metrics of ranks.
        rank_history: Whether a user's history stays among the candidates.
    """

    ranks: Ranks
    columns: dict[str, Array]
    evaluator: Evaluator
    rank_history: str

    def metrics(self, mask: Array | None = None, *, under: str = "") -> dict[str, float]:
        """Metrics of all targets, or of some; empty for none.

        Args:
            mask: Shape ``[S]``, bool.
            under: ``include`` or ``exclude``; empty for the run's own.
        """
        ranks = self.ranks.under(under or self.rank_history)
        ranks = ranks if mask is None else ranks[torch.from_numpy(mask)]
        if not len(ranks):
            return {}
        return {name: float(value) for name, value in self.evaluator.metrics(ranks).items()}

    def by_group(self) -> dict[str, dict[str, Any]]:
        """Number of targets (``n``) and metrics of each group that has a target."""
        masks = group_masks({**self.columns})
        return {
            name: {"n": int(mask.sum()), "metrics": self.metrics(mask)}
            for name, mask in masks.items()
            if mask.any()
        }


def judge(
    learner: Learner,
    model: Any,
    part: Any,
    targets: Array,
    *,
    cut: int,
    candidates: Array | None = None,
) -> Judged:
    """Rank targets among items that the model has.

    Args:
        learner: Knows the settings.
        model: Built on the split.
        part: Its interactions are histories.
        targets: Positions in its log; at least one. Shape ``[S]``, int64.
        cut: Groups tell what was known before that moment.
        candidates: Which items they are ranked among, shape ``[I]``, bool; None for all.

    Raises:
        ConfigError: If the run's metrics need more than ranks.
        TrainingError: If a score is NaN.
    """
    config, rank_history = learner.config, learner.plan.run.rank_history
    loader, evaluator = ranking_of(model, config, learner.plan, part, targets, candidates)
    if not evaluator.metrics_follow_from_ranks(loader):
        raise ConfigError(
            f"later interactions are judged by metrics of ranks, but the run has "
            f"{', '.join(config['metrics'])}"
        )
    ranks = evaluator.rank(loader)
    at_cut = copy.copy(part)
    at_cut.ends_before = cut
    return Judged(ranks, describe_samples(loader._dataset, at_cut), evaluator, rank_history)
