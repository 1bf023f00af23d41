"""Metrics of groups of test targets, from the ranks a run keeps."""

import math
from dataclasses import dataclass

import numpy as np

from recbole_hm4sr.evaluate.groups import Array, Ranks, group_masks, is_small, telling
from recbole_hm4sr.evaluate.statistics import user_metric


@dataclass(frozen=True)
class GroupScore:
    """A metric of one group of test targets.

    Attributes:
        label: The group, beside the title of its grouping.
        name: The group, in a table of all groupings.
        n_targets: Its targets.
        small: Whether they come from so few users that the mean says little.
        mean: Mean over the targets.
        interval: Its 95 % interval over the users by the normal distribution; None where all
            targets have the same value, which says nothing of how far the mean may be off.
    """

    label: str
    name: str
    n_targets: int
    small: bool
    mean: float
    interval: tuple[float, float] | None


def scores_by_group(
    ranks: Ranks, rank_history: str, metric: str
) -> dict[str, tuple[GroupScore, ...]]:
    """A metric in every group that has a target, by title of the grouping.

    Args:
        ranks: From :func:`recbole_hm4sr.evaluate.rank_file.read_ranks`.
        rank_history: ``include`` or ``exclude``.
        metric: As ``NDCG@10``.
    """
    values = user_metric(ranks[f"rank_{rank_history}"], metric)
    masks = group_masks(ranks)
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    found = {}
    for grouping, present in telling(sizes):
        scores = []
        for number in present:
            name = grouping.names[number]
            here = masks[name]
            mean, interval = mean_and_interval(values[here], ranks["user"][here])
            small = is_small(ranks, masks[name])
            label = grouping.labels[number]
            scores.append(GroupScore(label, name, sizes[name], small, mean, interval))
        found[grouping.title] = tuple(scores)
    return found


def mean_and_interval(values: Array, users: Array) -> tuple[float, tuple[float, float] | None]:
    """Mean of the targets' values, from 0 to 1, and its 95 % interval over the users.

    A user's targets are not independent: what they deviate from the mean is summed first.

    Args:
        values: Shape ``[S]``.
        users: The user of each. Shape ``[S]``.

    Returns:
        The interval is None where all values are the same, or of one user.
    """
    mean = float(values.mean())
    distinct, numbers = np.unique(users, return_inverse=True)
    n_users = len(distinct)
    if values.min() == values.max() or n_users < 2:
        return mean, None
    deviations = np.bincount(numbers, weights=values - mean)
    variance = float((deviations**2).sum()) * n_users / (n_users - 1)
    half = 1.96 * math.sqrt(variance) / len(values)
    return mean, (max(0.0, mean - half), min(1.0, mean + half))
