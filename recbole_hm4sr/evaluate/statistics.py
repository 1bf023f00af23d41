"""What tells two models apart: metrics by user, a paired test, Holm's correction, effect sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from recbole_hm4sr.base.errors import ConfigError

_Array = np.ndarray[Any, Any]

# With one target a user these are all that RecBole's metrics come to, within the cut-off.
_BY_RANK = {
    "ndcg": lambda ranks: 1 / np.log2(ranks + 1),
    "mrr": lambda ranks: 1 / ranks,
    "map": lambda ranks: 1 / ranks,
    "hit": lambda ranks: np.ones(len(ranks)),
    "recall": lambda ranks: np.ones(len(ranks)),
}


@dataclass(frozen=True)
class PairedTest:
    """How far one model is from another on the same users.

    Attributes:
        difference: Mean over the users of (model minus baseline).
        low: Lower end of the 95 % confidence interval of the difference.
        high: Its upper end.
        effect_size: Cohen's d_z, the difference in standard deviations of the users' differences.
        p: Of the two-sided paired t-test.
        n_users: Users.
    """

    difference: float
    low: float
    high: float
    effect_size: float
    p: float
    n_users: int


def parse_metric(name: str) -> tuple[str, int]:
    """Name and cut-off of a metric such as ``NDCG@10``.

    Raises:
        ConfigError: If it is not a metric of one target's rank.
    """
    metric, _, cut = name.lower().partition("@")
    if metric not in _BY_RANK or not cut.isdigit() or int(cut) < 1:
        raise ConfigError(
            f"a metric must be one of {', '.join(sorted(_BY_RANK))} with a cut-off, as NDCG@10, "
            f"got {name!r}"
        )
    return metric, int(cut)


def user_metric(ranks: _Array, name: str) -> _Array:
    """A metric of each user from the rank of the user's target.

    Args:
        ranks: Ranks from 1. Shape ``[U]``, int64.
        name: Metric and cut-off, as ``NDCG@10``.

    Returns:
        Values of shape ``[U]``, float64; 0 where the rank is beyond the cut-off.

    >>> user_metric(np.array([1, 3, 11]), "NDCG@10")
    array([1. , 0.5, 0. ])
    """
    metric, cut = parse_metric(name)
    return np.where(ranks <= cut, _BY_RANK[metric](ranks), 0.0)


def paired_test(model: _Array, baseline: _Array) -> PairedTest:
    """Compare two models on the same users by a paired t-test.

    The test of a mean over thousands of users needs no normal differences. The Wilcoxon and the
    sign test are not offered: on metrics with a cut-off most differences are exactly 0, which
    both leave out.

    Args:
        model: A value a user. Shape ``[U]``.
        baseline: The baseline's values of the same users.

    Returns:
        The test. Models that agree on every user differ by 0 with p 1; p is NaN for one user.
    """
    differences = model - baseline
    mean, n_users = float(differences.mean()), len(differences)
    if n_users < 2:
        return PairedTest(mean, math.nan, math.nan, math.nan, math.nan, n_users)
    deviation = float(differences.std(ddof=1))
    if deviation == 0:
        certain = PairedTest(mean, mean, mean, math.copysign(math.inf, mean), 0.0, n_users)
        return certain if mean else PairedTest(0.0, 0.0, 0.0, 0.0, 1.0, n_users)
    result = stats.ttest_rel(model, baseline)
    low, high = result.confidence_interval(0.95)
    return PairedTest(
        mean, float(low), float(high), mean / deviation, float(result.pvalue), n_users
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p-values in the given order; NaN stays NaN.

    The k-th smallest of m values is multiplied by m - k + 1, and none may be smaller than the one
    before it.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = list(p_values)
    tested = [number for number, p in enumerate(p_values) if not math.isnan(p)]
    largest = 0.0
    for position, number in enumerate(sorted(tested, key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (len(tested) - position) * p_values[number]))
        adjusted[number] = largest
    return adjusted
