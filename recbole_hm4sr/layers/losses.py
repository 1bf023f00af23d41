"""The auxiliary losses of HM4SR, as functions of tensors."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.packing import Packing
from recbole_hm4sr.layers.seen import holds, holds_own
from recbole_hm4sr.layers.softmax import HiddenPairs, TargetShares, linear_cross_entropy
from recbole_hm4sr.parallel.rows import GlobalRows, global_rows


class LossRows(NamedTuple):
    """The rows of a batch, and which of them are no negatives of each other.

    Attributes:
        targets: Target of each own row. Shape ``[B]``, int64.
        seen: Items that are no candidates of an own row; None if every item is one.
        excluded: True where another row has the same target, or one that the own row has seen; the
            others are the rows of all processes. Shape ``[B, N]``, bool.
        joined: The own rows among those of all processes.
        shares: Several targets of each own row, that one among them; None where it is the only one.
    """

    targets: Tensor
    seen: HiddenPairs | None
    excluded: Tensor
    joined: GlobalRows
    shares: TargetShares | None = None

    def excluded_from(self, sample: Tensor) -> Tensor:
        """Where a sample of items holds a row's target or an item that it has seen.

        Args:
            sample: Items. Shape ``[K]``, int64.

        Returns:
            Shape ``[B, K]``, bool.
        """
        excluded, seen = self.targets[:, None] == sample, self.seen_in(sample)
        if self.shares is not None:
            excluded = holds(self.shares.pairs, sample, len(self.targets))
        return excluded if seen is None else excluded | seen

    def seen_in(self, sample: Tensor) -> Tensor | None:
        """Where a sample of items holds one that a row has seen and that is no candidate of it.

        Args:
            sample: Items, the same of all rows or each row's own. Shape ``[K]`` or ``[B, K]``,
                int64.

        Returns:
            Shape ``[B, K]``, bool; None if every item is a candidate.
        """
        if self.seen is None:
            return None
        if sample.ndim == 2:
            return holds_own(self.seen.pairs, sample)
        return holds(self.seen.pairs, sample, len(self.targets))


def loss_rows(
    targets: Tensor, seen: HiddenPairs | None = None, shares: TargetShares | None = None
) -> LossRows:
    """Find the rows of a batch with the same target; other processes may hold some of the batch.

    Args:
        targets: Target of each own row. Shape ``[B]``, int64.
        seen: Items that are no negatives of an own row, of
            :func:`~recbole_hm4sr.layers.seen.seen_items`.
        shares: Several targets of each own row, if there are.
    """
    joined = global_rows(len(targets))
    every = joined.gather(targets)
    excluded = targets[:, None] == every  # [B, N]
    excluded.diagonal(offset=joined.first).fill_(value=False)
    if seen is not None:
        excluded = excluded | holds(seen.pairs, every, len(targets))
    return LossRows(targets, seen, excluded, joined, shares)


def info_nce(
    anchors: Tensor,
    candidates: Tensor,
    rows: LossRows,
    *,
    temperature: float,
    shortest: float = 1e-12,
) -> Tensor:
    r"""Contrast each anchor's own candidate with the other candidates of the batch.

    .. math:: \frac1B \sum_i \Bigl[ \log \sum_{j \in N_i} e^{a_i \cdot c_j / \tau}
        - a_i \cdot c_i / \tau \Bigr]

    with both sides normalised and :math:`N_i` the candidates of row i and of all rows that
    ``rows`` does not exclude: their target is neither row i's nor, where that is asked for, one
    that row i has seen.

    Args:
        anchors: Shape ``[B, D]``.
        candidates: Shape ``[B, D]``.
        rows: The rows of the batch, of :func:`loss_rows`. The candidates of other processes count
            too.
        temperature: :math:`\tau`, positive.
        shortest: A shorter vector is divided by this in place of its length.

    Returns:
        Scalar; its mean over the processes is the loss of all rows.

    Differs from the authors' code:
        A negative with the same target is left out. There its logit is set to 0, which adds 1 to
        the denominator.
    """
    own = torch.arange(len(anchors), device=anchors.device) + rows.joined.first
    anchors = F.normalize(anchors, dim=-1, eps=shortest) / temperature
    return linear_cross_entropy(
        anchors,
        rows.joined.gather(F.normalize(candidates, dim=-1, eps=shortest)),
        own,
        excluded=rows.excluded,
        divisor=rows.joined.divisor,
    )


def category_prediction(
    logits: Tensor, flags: Tensor, counts: Tensor, *, divisor: float | None = None
) -> Tensor:
    """Multi-label cross-entropy of distinct items, each weighed by its number of tokens.

    Equals the mean over all tokens and categories: the loss of a token depends on its item alone.

    Args:
        logits: Category scores of distinct items. Shape ``[N, C]``.
        flags: Their categories, 0 or 1. Shape ``[N, C]``.
        counts: Tokens that show each item. Shape ``[N]``, int64.
        divisor: What the sum over the tokens is divided by; their number if None.

    Returns:
        Scalar.

    Differs from the authors' code:
        There, flattened scores are indexed by 2-D positions: the loss sees 2 % of the tokens, and
        takes the position number for the category.
    """
    each = F.binary_cross_entropy_with_logits(logits, flags.to(logits.dtype), reduction="none")
    total = (each.mean(dim=-1) * counts).sum()
    return total / (counts.sum() if divisor is None else divisor)


class PlaceholderPlan(NamedTuple):
    """What the choice of placeholders needs to know of a batch.

    Attributes:
        group: Of each token: which ones are replaced is drawn within a group. Shape ``[T]``,
            int64, ascending.
        chosen: Tokens that would be replaced if none were exchanged. Shape ``[K]``, int64.
    """

    group: Tensor
    chosen: Tensor


def plan_placeholders(
    packing: Packing, ratio: float, *, every_prefix: bool = False
) -> PlaceholderPlan:
    r"""Prepare the choice of :math:`\lfloor ratio \cdot n \rfloor` positions of each sequence.

    How many those are depends on the values, so the arrangement is to be on the CPU.

    Args:
        packing: Arrangement of the tokens.
        ratio: In [0, 1].
        every_prefix: Whether each prefix of a sequence is read as one too, so that none may have
            more than its own share: the k-th position is then drawn from those at which a prefix
            may have k and not yet k + 1. Else all positions of a sequence are equally likely.
    """
    sequence, position = packing.sequence, packing.position
    if every_prefix:
        share = torch.floor(ratio * (position + 1).double())
        begins = (position == 0) | (torch.diff(share, prepend=share[:1]) > 0)
        return PlaceholderPlan(begins.cumsum(0), (begins & (share > 0)).nonzero().squeeze(1))
    chosen = position < torch.floor(ratio * packing.lengths.double())[sequence]
    return PlaceholderPlan(sequence, chosen.nonzero().squeeze(1))


def draw_placeholders(plan: PlaceholderPlan) -> Tensor:
    """Choose the tokens that are replaced.

    Args:
        plan: Of :func:`plan_placeholders`.

    Returns:
        Packed numbers, ascending. Shape ``[K]``, int64.
    """
    # Sorting by group number plus noise shuffles within each group; float64, so that the
    # noise keeps its digits beside large numbers.
    noise = torch.rand(len(plan.group), dtype=torch.float64, device=plan.group.device)
    shuffled = torch.argsort(plan.group + noise)
    return shuffled.index_select(0, plan.chosen).sort().values
