"""Metrics of groups of test targets, from the ranks a run keeps."""

import math
from dataclasses import dataclass

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
        interval: Its 95 % interval by the normal distribution; None where all targets have the same
            value, which says nothing of how far the mean may be off.
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
            mean, interval = mean_and_interval(values[masks[name]])
            small = is_small(ranks, masks[name])
            label = grouping.labels[number]
            scores.append(GroupScore(label, name, sizes[name], small, mean, interval))
        found[grouping.title] = tuple(scores)
    return found


def mean_and_interval(values: Array) -> tuple[float, tuple[float, float] | None]:
    """Mean of values from 0 to 1 and its 95 % interval; None where all are the same."""
    mean = float(values.mean())
    if values.min() == values.max():
        return mean, None
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, (max(0.0, mean - half), min(1.0, mean + half))
