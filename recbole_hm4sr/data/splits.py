"""Splits by one moment for all users, as positions of targets in the flat histories.

Leave-one-out takes each user's last interactions, whenever they were: the model is trained on what
others did later. Here the training part ends at one moment for everybody, and the evaluation asks
for what came after it, as a shop does that trains today and serves next week.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.histories import Histories

TargetChoice = Literal["first", "last", "all", "visits"]


@dataclass(frozen=True)
class MomentSplit:
    """Targets of three parts, divided at two moments.

    Attributes:
        cuts: The first moment of the validation part, and of the test part; in the unit of the
            times. An interaction at a cut belongs to the later part.
        parts: Positions of the targets of training, validation and test, ascending. Each of shape
            ``[S]``, int64.
        without_history: Interactions of each part that would be targets, but are the first of
            their user: there is nothing to recommend from.
    """

    cuts: tuple[int, int]
    parts: tuple[Tensor, Tensor, Tensor]
    without_history: tuple[int, int, int]


def find_cuts(times: Tensor, shares: tuple[float, float, float]) -> tuple[int, int]:
    """The moments that divide all interactions into three parts.

    At most the first share of the interactions lies before the first cut, at most the first and the
    second before the second; interactions of one moment stay together.

    Args:
        times: Times of all interactions. Shape ``[N]``, int64, N at least 1.
        shares: Of training, validation and test; 0 or more, with a positive sum.

    Returns:
        The first moments of validation and test.

    Example:
        >>> find_cuts(torch.tensor([5, 1, 2, 3, 3, 4, 6, 7, 8, 9]), (0.4, 0.3, 0.3))
        (4, 7)
    """
    ordered = np.sort(times.numpy())
    before = np.cumsum(shares)[:2] / sum(shares)
    # Rounded first: 0.7 of 10 interactions is 7, though 0.7 is a little less in binary.
    places = np.floor(np.round(before * len(ordered), 9)).astype(np.int64)
    first, second = ordered[np.minimum(places, len(ordered) - 1)].tolist()
    return first, second


def split_by_moment(
    histories: Histories,
    times: Tensor,
    *,
    shares: tuple[float, float, float],
    targets: TargetChoice,
    same_visit_gap: int = 0,
) -> MomentSplit:
    """Divide interactions at two moments and choose the targets of the two later parts.

    Every interaction before the first cut that has a predecessor is a target of the training part.
    A target of a later part has the user's whole history before it, interactions after the cut
    included.

    Args:
        histories: Flat histories.
        times: Times of all interactions, in their order. Shape ``[N]``, int64.
        shares: Of training, validation and test.
        targets: Which interactions of a user are targets in the later parts: the ``first`` of each
            part, the ``last``, ``all``, or the first of every one of the user's ``visits``.
        same_visit_gap: The longest time between two interactions of one visit, in the unit of the
            times.
    """
    cuts = find_cuts(times, shares)
    part = torch.bucketize(times, torch.tensor(cuts), right=True)  # 0, 1 or 2: [N]
    positions = torch.arange(len(histories))
    begins = positions == histories.starts  # the first interaction of its user
    chosen = (part == 0) | _chosen(targets, begins, part, times, same_visit_gap)
    train, valid, test = (chosen & (part == number) for number in range(3))
    return MomentSplit(
        cuts=cuts,
        parts=(_places(train & ~begins), _places(valid & ~begins), _places(test & ~begins)),
        without_history=(_count(train & begins), _count(valid & begins), _count(test & begins)),
    )


def _places(flags: Tensor) -> Tensor:
    return flags.nonzero().squeeze(1)


def _count(flags: Tensor) -> int:
    return int(flags.sum())


def _chosen(
    targets: TargetChoice, begins: Tensor, part: Tensor, times: Tensor, same_visit_gap: int
) -> Tensor:
    """Which interactions the choice names, whatever their part. Shape ``[N]``, bool."""
    if targets == "all":
        return torch.ones_like(begins)
    before = torch.diff(times, prepend=times[:1])  # times to the interaction before
    if targets == "visits":
        return begins | (before > same_visit_gap)
    enters = begins | (torch.diff(part, prepend=part[:1]) > 0)
    if targets == "first":
        # A user who begins in the part has no history yet: the second interaction is the target.
        return enters | torch.roll(begins, 1)
    return torch.roll(enters, -1)
