"""Losses that set each target against a few drawn items, in place of the whole catalogue."""

from typing import Literal

from torch import Tensor

from recbole_hm4sr.layers.bce import generalized_bce, mean_bce
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.softmax import label_scores, sampled_cross_entropy


def drawn_loss(
    kind: Literal["gbce", "bce", "sampled"],
    catalogue: Catalogue,
    users: UserRows,
    rows: LossRows,
    drawn: Tensor,
    *,
    beta: float,
) -> Tensor:
    """The loss of targets and of items drawn beside them.

    An item that a row has seen, where those are no candidates, adds nothing. A target may be among
    its own negatives.

    Args:
        kind: ``gbce`` and ``bce`` are binary cross-entropies (:mod:`~recbole_hm4sr.layers.bce`),
            ``sampled`` the cross-entropy of the target among itself and the K, uncorrected.
        catalogue: Holds the items.
        users: N rows.
        rows: Their targets.
        drawn: Items of each row, ``[N, K]``, or the same of all, ``[K]``; int64.
        beta: Of gBCE.

    Returns:
        Scalar.
    """
    targets = rows.targets if rows.shares is None else rows.shares
    own, scores = catalogue.scores_beside(users, targets, drawn)
    excluded, divisor = rows.seen_in(drawn), rows.joined.divisor
    if kind == "sampled":
        total, mean = label_scores(own, targets, len(rows.targets))
        return sampled_cross_entropy(total, scores, excluded=excluded, divisor=divisor, mean=mean)
    if kind == "bce":
        return mean_bce(own, scores, excluded=excluded, divisor=divisor, shares=rows.shares)
    return generalized_bce(
        own, scores, beta=beta, excluded=excluded, divisor=divisor, shares=rows.shares
    )
