"""Rows of all processes: the own share of a batch, and what a loss gathers from the others."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recbole_hm4sr.parallel.processes import control_group, loss_group, rank, world_size


@dataclass
class _State:
    """Whether the losses at hand are those of the batch of all processes."""

    gathers: bool = True


_state = _State()


def own_share(n: int) -> slice:
    """This process's part of n things, all parts as equal as can be, in the order of processes."""
    return slice(n * rank() // world_size(), n * (rank() + 1) // world_size())


@contextlib.contextmanager
def without_gathering() -> Iterator[None]:
    """Compute losses of the rows at hand as if they were all: no other process is waited for."""
    before, _state.gathers = _state.gathers, False
    try:
        yield
    finally:
        _state.gathers = before


@dataclass(frozen=True)
class GlobalRows:
    """The rows of a loss over all processes, of which this one holds some.

    A process's loss is a sum over its own rows, divided by ``divisor``: the mean over the processes
    is the mean over all rows, and the gradients that ``DistributedDataParallel`` averages are those
    of one process with all rows.

    Attributes:
        counts: Rows of each process.
        first: Index of the first own row among all.
        divisor: All rows per process.
    """

    counts: tuple[int, ...]
    first: int
    divisor: float

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order, with gradients. ``[n, ...]`` to ``[N, ...]``.

        A gradient that any process has of a row comes back to the process that holds it.
        """
        if len(self.counts) == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.counts, self.first)  # type: ignore[no-untyped-call, unused-ignore]
        return gathered


def global_rows(n_rows: int, *, always: bool = False) -> GlobalRows:
    """The position of the own rows of a loss among those of all processes.

    Args:
        n_rows: Own rows; may differ between processes.
        always: Whether also where losses are those of the rows at hand.
    """
    if world_size() == 1 or not (_state.gathers or always):
        return GlobalRows((n_rows,), 0, n_rows)
    counts = tuple(gather_counts([n_rows])[:, 0].tolist())
    return GlobalRows(counts, sum(counts[: rank()]), sum(counts) / world_size())


def gather_counts(counts: list[int]) -> Tensor:
    """Numbers that each process has, a row a process. Shape ``[W, n]``, int64, on the CPU."""
    return gather_rows(torch.tensor([counts]), (1,) * world_size())


def gather_parts(part: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Rows that the processes hold on their devices, in their order, without gradients.

    Args:
        part: Own rows. Shape ``[n, ...]``.
        counts: Rows of each process.
    """
    return _gather(part.detach(), counts, loss_group())


def of_first_process(values: Tensor) -> Tensor:
    """What the first process has, in all: a draw that a step shares, for instance.

    Args:
        values: Of the same shape in each process; set in place. A process whose losses are those
            of the rows at hand keeps its own.
    """
    if world_size() > 1 and _state.gathers:
        dist.broadcast(values, src=0, group=loss_group())
    return values


def gather_rows(rows: Tensor, counts: tuple[int, ...] | None = None) -> Tensor:
    """The rows that the processes hold on their CPUs, in their order, without gradients.

    Args:
        rows: Own rows. Shape ``[n, ...]``.
        counts: Rows of each process, if they are known.
    """
    if world_size() == 1:
        return rows
    if counts is None:
        counts = global_rows(len(rows)).counts
    return _gather(rows, counts, control_group())


def _gather(rows: Tensor, counts: tuple[int, ...], group: Any) -> Tensor:
    """All parts must be as long for the exchange: short ones are filled up, then cut."""
    longest = max(counts)
    own = rows.new_zeros(longest, *rows.shape[1:])
    own[: len(rows)] = rows
    parts = [torch.empty_like(own) for _ in counts]
    dist.all_gather(parts, own, group=group)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """Rows of all processes; their gradients are summed over the processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: tuple[int, ...], first: int) -> Tensor:
        ctx.own = slice(first, first + len(rows))
        return _gather(rows.detach(), counts, loss_group())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override, unused-ignore]
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=loss_group())
        return total[ctx.own], None, None
