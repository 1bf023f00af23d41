"""The exact cross-entropy over a catalogue whose items lie in several processes.

Every process scores the rows of all processes against its own items, some rows at a time. The
largest score, the sum of the exponentials and the scores of the targets are reduced over the
processes; no process sees another's scores.
"""

import contextlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.softmax import SCORES_AT_A_TIME, add_product, low_precision
from recbole_hm4sr.layers.sparse_scores import AddedScores, SparseScores
from recbole_hm4sr.parallel.rows import GlobalRows, global_rows
from recbole_hm4sr.parallel.shards import Shards

Array = np.ndarray[Any, Any]


class _Pairs(NamedTuple):
    """Pairs of a row of all processes and an item that is held here, by ascending row.

    Attributes:
        rows, columns: Of each pair; columns are counted from the first own item. Shape ``[E]``,
            int64.
        begins: Where the pairs of each row begin; on the host. Shape ``[N + 1]``, int64.
        weights: A number for each. Shape ``[E]``.
    """

    rows: Tensor
    columns: Tensor
    begins: Array
    weights: Tensor

    def between(self, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, counted from the first, columns and weights of consecutive rows."""
        own = slice(int(self.begins[begin]), int(self.begins[end]))
        return self.rows[own] - begin, self.columns[own], self.weights[own]


class _Plan(NamedTuple):
    """What the loss reads besides what gets a gradient."""

    shards: Shards
    own: slice
    labels: _Pairs
    hidden: _Pairs
    added: SparseScores | None
    columns_hidden: Tensor
    product: torch.dtype
    divisor: float


def sharded_cross_entropy(
    users: Tensor,
    items: Tensor,
    rows: LossRows,
    shards: Shards,
    joined: GlobalRows,
    *,
    added: SparseScores | None = None,
    n_padding: int = 0,
    left_out: Tensor | None = None,
) -> Tensor:
    """The cross-entropy of :func:`~recbole_hm4sr.layers.softmax.linear_cross_entropy`, over shards.

    Every process gets the loss of its own rows; its mean over the processes is that of all rows.
    Gradients are those of the sum of the processes' losses, whose gradient each process must pass
    on in the same size.

    Args:
        users: The rows of all processes. Shape ``[N, D]``.
        items: The own items. Shape ``[I_own, D]``.
        rows: Targets of the own rows, and the items that are no candidates of each.
        shards: Who holds which items.
        joined: The own rows among those of all processes.
        added: What is added to some of the products of all rows and own items. The weights of its
            runs get their gradient.
        n_padding: So many of all items at the beginning are no candidates.
        left_out: Further items that are none of any row. Shape ``[X]``, int64.

    Returns:
        Scalar.
    """
    device = users.device.type
    dtype = torch.promote_types(torch.promote_types(users.dtype, items.dtype), torch.float32)
    low = low_precision(device)
    weights = () if added is None else [part.weights.to(dtype) for part in added.parts]
    plan = _Plan(
        shards=shards,
        own=slice(joined.first, joined.first + len(rows.targets)),
        labels=_held(*_labels(rows), joined, shards, dtype),
        hidden=_held(*_seen(rows), joined, shards, dtype),
        added=added,
        columns_hidden=_hidden_columns(shards, n_padding, left_out, users.device),
        product=dtype if low is None else low,
        divisor=rows.joined.divisor,
    )
    with contextlib.nullcontext() if low is None else torch.autocast(device, enabled=False):
        loss: Tensor = _ShardedCrossEntropy.apply(  # type: ignore[no-untyped-call, unused-ignore]
            users.to(dtype), items.to(dtype), plan, *weights
        )
    return loss


def _labels(rows: LossRows) -> tuple[Tensor, Tensor]:
    """Row and item of each target, and its share."""
    if rows.shares is not None:
        return rows.shares.pairs, rows.shares.weights
    numbers = torch.arange(len(rows.targets), device=rows.targets.device)
    pairs = torch.stack([numbers, rows.targets], dim=1)
    return pairs, torch.ones(len(pairs), device=pairs.device)


def _seen(rows: LossRows) -> tuple[Tensor, Tensor]:
    pairs = rows.targets.new_empty(0, 2) if rows.seen is None else rows.seen.pairs
    return pairs, torch.ones(len(pairs), device=pairs.device)


def _held(
    pairs: Tensor,
    weights: Tensor,
    joined: GlobalRows,
    shards: Shards,
    dtype: torch.dtype,
) -> _Pairs:
    """Pairs of all processes whose item is held here."""
    of_all = global_rows(len(pairs), always=True)
    shifted = torch.stack([pairs[:, 0] + joined.first, pairs[:, 1]], dim=1)
    numbers, items = of_all.gather(shifted).unbind(dim=1)
    weights = of_all.gather(weights.to(dtype))
    here = shards.holds(items).nonzero()[:, 0]
    numbers = numbers[here]
    begins = np.searchsorted(numbers.cpu().numpy(), np.arange(sum(joined.counts) + 1))
    return _Pairs(numbers, items[here] - shards.own.start, begins, weights[here])


def _hidden_columns(
    shards: Shards, n_padding: int, left_out: Tensor | None, device: torch.device
) -> Tensor:
    """Own items that are candidates of no row, counted from the first own. Shape ``[X]``."""
    padding = torch.arange(n_padding, device=device)
    items = padding if left_out is None else torch.cat([padding, left_out])
    return items[shards.holds(items)] - shards.own.start


class _ShardedCrossEntropy(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores are at hand."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, plan: _Plan, *weights: Tensor) -> Tensor:
        shards, low = plan.shards, plan.product
        # The same rows at a time in all processes, which reduce them together.
        step = max(1, SCORES_AT_A_TIME.get(users.device.type, 2**28) // shards.longest)
        table = items.to(low)
        # As in one process: errors of a large catalogue are below float16's smallest number.
        backwards = items.dtype if low == torch.float16 else low
        losses, users_gradient = users.new_empty(len(users)), torch.empty_like(users)
        items_gradient = torch.zeros_like(items)
        added = AddedScores(
            plan.added, weights, step=step, width=len(items), first=shards.own.start
        )
        for begin in range(0, len(users), step):
            end = min(begin + step, len(users))
            chunk = users[begin:end]
            scores = (chunk.to(low) @ table.T).to(users.dtype)
            added.add_to(scores, begin)
            scores.index_fill_(1, plan.columns_hidden, -torch.inf)
            rows, columns, _ = plan.hidden.between(begin, end)
            scores[rows, columns] = -torch.inf
            rows, columns, shares = plan.labels.between(begin, end)
            peak = shards.largest(scores.amax(dim=1))
            own = scores.new_zeros(len(chunk)).index_add_(0, rows, shares * scores[rows, columns])
            error = scores.sub_(peak[:, None]).exp_()
            total, own = shards.sum(torch.stack([error.sum(dim=1), own]))
            losses[begin:end] = peak + total.log() - own
            error /= total[:, None]
            error[rows, columns] -= shares
            added.keep_gradient(error)
            error = error.to(backwards)
            users_gradient[begin:end] = error @ table.to(backwards)
            add_product(items_gradient, error.T, chunk.to(backwards))
        ctx.save_for_backward(users_gradient, items_gradient, *added.gradients)
        ctx.divisor = plan.divisor
        return losses[plan.own].sum() / plan.divisor

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override, unused-ignore]
        scale = gradient / ctx.divisor
        users, items, *weights = (found * scale for found in ctx.saved_tensors)
        return users, items, None, *weights
