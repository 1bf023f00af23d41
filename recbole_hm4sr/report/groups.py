"""Metrics of groups of test users, from the ranks a run keeps."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.report.buckets import GAPS, HISTORY, POPULARITY, Array, Buckets

# Column of test_ranks.npz to its buckets, in the order of the page.
GROUPINGS = {"history_length": HISTORY, "target_count": POPULARITY, "gap_seconds": GAPS}


@dataclass(frozen=True)
class GroupScore:
    """A metric of one group of users.

    Attributes:
        label: The group.
        n_users: Its users.
        mean: Mean over them.
        interval: Its 95 % interval by the normal distribution; None where all users have the same
            value, which says nothing of how far the mean may be off.
    """

    label: str
    n_users: int
    mean: float
    interval: tuple[float, float] | None


def read_ranks(run_dir: Path) -> dict[str, Array] | None:
    """The columns of ``test_ranks.npz``; None for a run whose metrics need more than ranks.

    Raises:
        DataError: If the file cannot be read.
    """
    path = run_dir / "test_ranks.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read the ranks of a run, {path}: {error}") from error
    needed = {*GROUPINGS, "user", "rank_include", "rank_exclude"}
    if needed - set(columns):
        raise DataError(
            f"{path} must hold the columns {', '.join(sorted(needed))}, but lacks "
            f"{', '.join(sorted(needed - set(columns)))}"
        )
    return columns


def group_scores(values: Array, numbers: Array, buckets: Buckets) -> list[GroupScore]:
    """The mean of a metric in each bucket that has a user.

    Args:
        values: A metric of each user. Shape ``[U]``.
        numbers: What the buckets are of. Shape ``[U]``.
        buckets: The groups.
    """
    places = buckets.number(numbers)
    scores = []
    for place, label in enumerate(buckets.labels):
        inside = values[places == place]
        if len(inside):
            mean = float(inside.mean())
            interval = None
            if inside.min() < inside.max():
                half = 1.96 * float(inside.std(ddof=1)) / math.sqrt(len(inside))
                interval = (max(0.0, mean - half), min(1.0, mean + half))
            scores.append(GroupScore(label, len(inside), mean, interval))
    return scores


def scores_by_group(
    ranks: dict[str, Array], rank_history: str, metric: str
) -> dict[str, list[GroupScore]]:
    """A metric by history length, popularity of the target, and time since the last purchase.

    Args:
        ranks: From :func:`read_ranks`.
        rank_history: ``include`` or ``exclude``.
        metric: As ``NDCG@10``.
    """
    values = user_metric(ranks[f"rank_{rank_history}"], metric)
    return {
        column: group_scores(values, ranks[column], buckets)
        for column, buckets in GROUPINGS.items()
    }
