"""Cross-entropies over a catalogue: exact without holding all scores, or from a sample.

Scores of ``[B, I]`` are the largest tensor of a step: the plain form writes them, their logarithm
and the gradient of each to memory. Here a few rows at a time are scored, normalised and turned into
gradients while they are still in the cache. The result is the same, not an approximation.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from recbole_hm4sr.layers.sparse_scores import AddedScores, SparseScores

# Scores held at a time. Small enough for a CPU's cache, large enough for quick products.
SCORES_AT_A_TIME = {"cpu": 2**21, "cuda": 2**28}
# Scores of a block that autograd differentiates: several tensors of its size are alive at once.
_BLOCK_SCORES = 2**22
# Rows of scores begin at multiples of a cache line: unaligned rows slow products down by half.
_ALIGNMENT = 16
# Probabilities below this come near the smallest numbers of float32, which have fewer digits.
_VANISHING = 1e-30

Array = np.ndarray[Any, Any]


class HiddenPairs(NamedTuple):
    """Pairs of a row and a candidate that it may not have: few of very many.

    Attributes:
        pairs: By ascending row. Shape ``[E, 2]``, int64.
        begins: Where the pairs of each row begin, and where the last ones end; on the host, whose
            loops read it. Shape ``[B + 1]``, int64.
    """

    pairs: Tensor
    begins: Array


class TargetShares(NamedTuple):
    """Several targets of each row, at least one, of which each has a share of the label.

    Attributes:
        pairs: Row and item, by ascending row, each pair once. Shape ``[E, 2]``, int64.
        weights: Shares, whose sum is 1 in each row. Shape ``[E]``.
        begins: Where the pairs of each row begin, and where the last ones end; on the host. Shape
            ``[B + 1]``, int64.
    """

    pairs: Tensor
    weights: Tensor
    begins: Array


def linear_cross_entropy(
    users: Tensor,
    items: Tensor,
    targets: Tensor | TargetShares,
    *,
    excluded: Tensor | HiddenPairs | None = None,
    divisor: float | None = None,
    added: SparseScores | None = None,
    n_padding: int = 0,
    left_out: Tensor | None = None,
) -> Tensor:
    r"""The mean over the rows of the cross-entropy of ``users @ items.T``.

    Equals ``F.cross_entropy(users @ items.T, targets)`` in value and gradients, and as it under
    autocast: products in the low precision, the softmax and the loss in float32. The products
    that make the gradients are of float32 where the low precision is float16: they come before the
    loss is scaled, and most errors of a large catalogue are below float16's smallest number.

    Args:
        users: Shape ``[B, D]``.
        items: Shape ``[I, D]``.
        targets: Row in ``items`` of each user's target, shape ``[B]``, int64; or several of each,
            with their shares.
        excluded: Items that are no candidates of a user, never its target: as flags, shape
            ``[B, I]``, bool, or as pairs.
        divisor: What the sum over the rows is divided by; their number if None.
        added: What is added to some of the products. The weights of its runs get their gradient.
        n_padding: So many items at the beginning are no candidates.
        left_out: Further items that are no candidates of any user. Shape ``[X]``, int64.

    Returns:
        Scalar.
    """
    divisor = len(users) if divisor is None else divisor
    device = users.device.type
    dtype = torch.promote_types(users.dtype, items.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    low = low_precision(device)
    product = dtype if low is None else low
    weights = () if added is None else [part.weights.to(dtype) for part in added.parts]
    plan = _Plan(targets, excluded, added, n_padding, left_out, product, divisor)
    with contextlib.nullcontext() if low is None else torch.autocast(device, enabled=False):
        loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call, unused-ignore]
            users.to(dtype), items.to(dtype), plan, *weights
        )
    return loss


def low_precision(device: str) -> torch.dtype | None:
    """What products are computed in under autocast; None without.

    Args:
        device: Type of the device, as ``cpu``.
    """
    is_low = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_low else None


class _Plan(NamedTuple):
    """What a cross-entropy reads besides what gets a gradient."""

    targets: Tensor | TargetShares
    excluded: Tensor | HiddenPairs | None
    added: SparseScores | None
    n_padding: int
    left_out: Tensor | None
    product: torch.dtype
    divisor: float


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores are at hand."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, plan: _Plan, *weights: Tensor) -> Tensor:
        n_items, product = len(items), plan.product
        padded = F.pad(items.to(product), _padding(n_items))
        budget = SCORES_AT_A_TIME.get(users.device.type, 2**28)
        step = max(1, budget // len(padded))
        begins = range(0, len(users), step)
        # Two blocks of memory for all chunks: new ones would be mapped page by page.
        buffers = users.new_empty(2, min(step, len(users)), len(padded))
        backwards = users.dtype if product == torch.float16 else product
        items_backwards = padded if backwards == product else F.pad(items, _padding(n_items))
        loss = users.new_zeros(())
        users_gradient = torch.empty_like(users)
        items_gradient = torch.zeros_like(padded, dtype=items.dtype)
        added = AddedScores(plan.added, weights, step=step, width=len(padded))
        for begin in begins:
            part = slice(begin, begin + step)
            chunk = users[part].to(product)
            scores = _product(chunk, padded.T, out=buffers[0, : len(chunk)])
            scores[:, n_items:] = -torch.inf
            scores[:, : plan.n_padding] = -torch.inf
            if plan.left_out is not None:
                scores.index_fill_(1, plan.left_out, -torch.inf)
            added.add_to(scores, begin)
            _hide(scores, plan.excluded, begin)
            error = torch.softmax(scores, dim=1, out=buffers[1, : len(chunk)])
            loss += _label(scores, error, plan.targets, begin)
            added.keep_gradient(error)
            error = error.to(backwards)
            users_gradient[part] = error @ items_backwards
            add_product(items_gradient, error.T, chunk if backwards == product else users[part])
        ctx.save_for_backward(users_gradient, items_gradient[:n_items], *added.gradients)
        ctx.divisor = plan.divisor
        return loss / plan.divisor

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override, unused-ignore]
        scale = gradient / ctx.divisor
        users, items, *weights = (found * scale for found in ctx.saved_tensors)
        return users, items, None, *weights


def blockwise_log_sum_exp(
    block: Callable[[slice], Tensor],
    *,
    n_rows: int,
    n_items: int,
    hidden: HiddenPairs | None = None,
) -> Tensor:
    """The logarithm of the sum of the exponentials of scores that are made a block at a time.

    Equals ``logsumexp`` over all items in value and gradients. Blocks are made once more for the
    gradient, so that no more than one is held at a time.

    Args:
        block: Makes the scores of consecutive items. Shape ``[N, k]``, or ``[N, k, ...]`` for
            several scores each.
        n_rows: N.
        n_items: Number of items.
        hidden: Items that do not count in a row.

    Returns:
        Float32 or of a higher precision. Shape ``[N]``, or ``[N, ...]``.
    """

    def peaks_and_sums(part: slice) -> tuple[Tensor, Tensor]:
        scores = block(part)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if hidden is not None:
            rows, items = hidden.pairs.unbind(dim=1)
            inside = ((items >= part.start) & (items < part.stop)).nonzero()[:, 0]
            where = rows[inside], items[inside] - part.start
            scores = scores.index_put(where, scores.new_tensor(-torch.inf))
        peak = scores.detach().amax(dim=1)
        # Where all are hidden the peak is minus infinity: exp(-inf - 0) is 0, as it should be.
        shift = peak.masked_fill(peak == -torch.inf, 0).unsqueeze(1)
        return peak, (scores - shift).exp().sum(dim=1)

    width = max(1, _BLOCK_SCORES // max(1, n_rows))
    found = []
    for begin in range(0, n_items, width):
        part = slice(begin, min(begin + width, n_items))
        if torch.is_grad_enabled():
            found.append(checkpoint(peaks_and_sums, part, use_reentrant=False))
        else:
            found.append(peaks_and_sums(part))
    peaks, sums = (torch.stack(parts) for parts in zip(*found, strict=True))
    top = peaks.amax(dim=0)
    return top + (sums * (peaks - top).exp()).sum(dim=0).log()


def without_columns(scores: Tensor, start: int, n_padding: int, left_out: Tensor | None) -> Tensor:
    """A block of scores whose items that are no candidates have minus infinity.

    Args:
        scores: Shape ``[N, K]``.
        start: Number of its first item.
        n_padding: So many of all items at the beginning are no candidates.
        left_out: Further items that are none. Shape ``[X]``, int64.
    """
    n_hidden = min(max(n_padding - start, 0), scores.shape[1])
    if n_hidden:
        hidden = torch.full_like(scores[:, :n_hidden], -torch.inf)
        scores = torch.cat([hidden, scores[:, n_hidden:]], dim=1)
    if left_out is None:
        return scores
    inside = (left_out >= start) & (left_out < start + scores.shape[1])
    return scores.index_fill(1, left_out[inside] - start, -torch.inf)


def sampled_cross_entropy(
    own: Tensor,
    scores: Tensor,
    *,
    log_expected: Tensor | None = None,
    excluded: Tensor | None = None,
    divisor: float | None = None,
    mean: Tensor | None = None,
) -> Tensor:
    r"""Estimate the softmax over a catalogue from its targets and a sample of the other items.

    .. math:: \frac1B \sum_i \Bigl[ \log \Bigl( e^{s_i} + \sum_{j \ne i} e^{s_{ij}} / Q_j \Bigr)
        - \bar s_i \Bigr]

    with :math:`s_i` and :math:`\bar s_i` the target's score and :math:`Q_j` how often item j is
    expected in the sample (log-Q correction): the sum estimates that over all other items without
    bias, where an uncorrected one punishes what is drawn often.

    Args:
        own: Score of each user's target; of several, the logarithm of their sum of exponentials.
            Shape ``[B]``.
        scores: Scores of the sample, drawn with replacement. Shape ``[B, K]``.
        log_expected: Logarithm of the expected number of each item of the sample in it. Shape
            ``[K]``. None for the softmax of the target among itself and the sample, uncorrected.
        excluded: True where an item of the sample does not count: the user's target, as the
            estimate asks for, or one that is no candidate of the user. Shape ``[B, K]``, bool.
        divisor: What the sum over the rows is divided by; their number if None.
        mean: Mean of the scores of several targets by their shares; None where there is one each.
            Shape ``[B]``.

    Returns:
        Scalar.

    Reference:
        Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural
        Probabilistic Language Model", IEEE Transactions on Neural Networks 2008. The target is
        sure to be there, so it is not corrected; correcting it too is a common variant that does
        not tend to the full softmax.
    """
    if log_expected is not None:
        scores = scores - log_expected.to(own.dtype)
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    every = torch.cat([own[:, None], scores], dim=1)
    losses = every.logsumexp(dim=1) - (every[:, 0] if mean is None else mean)
    return losses.mean() if divisor is None else losses.sum() / divisor


def label_scores(own: Tensor, targets: Tensor | TargetShares, n_rows: int) -> tuple[Tensor, Tensor]:
    """Of the targets of each row: the logarithm of their sum of exponentials, and their mean.

    Args:
        own: Their scores. Shape ``[N]``, or ``[P]`` of P pairs.
        targets: One item a row, ``[N]``, or several with their shares.
        n_rows: N.

    Returns:
        Shape ``[N]`` each.
    """
    if isinstance(targets, Tensor):
        return own, own
    rows = targets.pairs[:, 0]
    width = int(np.diff(targets.begins).max(initial=1))
    begins = torch.as_tensor(targets.begins, device=rows.device)[rows]
    steps = torch.arange(len(rows), device=rows.device) - begins
    table = own.new_full((n_rows, width), -torch.inf).index_put((rows, steps), own)
    mean = own.new_zeros(n_rows).index_add(0, rows, own * targets.weights.to(own))
    return table.logsumexp(dim=1), mean


def _padding(n_items: int) -> tuple[int, ...]:
    return (0, 0, 0, -n_items % _ALIGNMENT)


def _hide(scores: Tensor, excluded: Tensor | HiddenPairs | None, begin: int) -> None:
    """Set the scores of excluded items to minus infinity, for the users from a number on."""
    end = begin + len(scores)
    if isinstance(excluded, HiddenPairs):
        first, last = int(excluded.begins[begin]), int(excluded.begins[end])
        rows, hidden = excluded.pairs[first:last].unbind(dim=1)
        scores[rows - begin, hidden] = -torch.inf
    elif excluded is not None:
        scores[:, : excluded.shape[1]].masked_fill_(excluded[begin:end], -torch.inf)


def _label(
    scores: Tensor, probabilities: Tensor, targets: Tensor | TargetShares, begin: int
) -> Tensor:
    """The sum of the losses of the rows from a number on; probabilities become gradients."""
    if isinstance(targets, TargetShares):
        first, last = int(targets.begins[begin]), int(targets.begins[begin + len(scores)])
        rows, items = targets.pairs[first:last].unbind(dim=1)
        weights, rows = targets.weights[first:last].to(scores.dtype), rows - begin
        # From the largest probability, which has all its digits.
        totals = scores.amax(dim=1) - probabilities.amax(dim=1).log()
        loss = totals.sum() - (weights * scores[rows, items]).sum()
        probabilities[rows, items] -= weights
        return loss
    own = targets[begin : begin + len(scores), None]
    loss = _sum_of_losses(scores, probabilities, own)
    probabilities.scatter_add_(1, own, probabilities.new_full(own.shape, -1.0))
    return loss


def _sum_of_losses(scores: Tensor, probabilities: Tensor, own: Tensor) -> Tensor:
    """The sum over the rows of −log of the target's probability.

    Where that has lost its digits, it is taken from the row's largest one, which has them all.
    """
    of_target = probabilities.gather(1, own)[:, 0]
    vanished = of_target < _VANISHING
    loss = -of_target.masked_fill(vanished, 1).log().sum()
    below = scores.amax(dim=1) - scores.gather(1, own)[:, 0] - probabilities.amax(dim=1).log()
    return loss + torch.where(vanished, below, 0).sum()


def _product(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    """Write ``left @ right`` to ``out``, which may be of a higher precision."""
    if left.dtype == out.dtype:
        return torch.mm(left, right, out=out)
    return out.copy_(left @ right)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` to ``total`` in place; ``total`` may be of a higher precision."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
