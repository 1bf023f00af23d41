"""Tables whose rows lie in several processes: who holds which, and how others get them.

A table of I rows is cut into consecutive parts, one a process, as equal as can be. A process looks
rows of the others up by asking their holders; gradients go back the same way. The gradient of a
part is, as those that ``DistributedDataParallel`` averages, that of the mean of the losses of all
processes.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.parallel.processes import loss_group, rank, world_size
from recbole_hm4sr.parallel.rows import gather_counts, gather_parts

_ROWS_DRAWN_AT_A_TIME = 2**16  # a multiple of 16: see Shards.draw_normal


@dataclass(frozen=True)
class Shards:
    """Which process holds which rows of a table.

    Every method but the properties and :meth:`holds` is called by all processes together, in the
    same order.

    Attributes:
        bounds: Where the part of each process begins, and where the last ends; two numbers where
            one process holds all.
        number: Of this process.
    """

    bounds: tuple[int, ...]
    number: int = 0

    @classmethod
    def whole(cls, n_rows: int) -> "Shards":
        """All rows in this process."""
        return cls((0, n_rows))

    @classmethod
    def of_processes(cls, n_rows: int) -> "Shards":
        """A part in each of the processes that train together.

        Raises:
            ConfigError: If there are fewer rows than processes.
        """
        count = world_size()
        if n_rows < count:
            raise ConfigError(
                f"catalogue_rows must be replicated with fewer items than processes, got {n_rows} "
                f"items and {count} processes"
            )
        return cls(tuple(n_rows * number // count for number in range(count + 1)), rank())

    @property
    def is_split(self) -> bool:
        """Whether other processes hold some of the rows."""
        return len(self.bounds) > 2

    @property
    def n_rows(self) -> int:
        """I, the rows of all parts."""
        return self.bounds[-1]

    @property
    def own(self) -> slice:
        """The rows of this process."""
        return slice(self.bounds[self.number], self.bounds[self.number + 1])

    @property
    def n_own(self) -> int:
        """How many these are."""
        return self.own.stop - self.own.start

    @property
    def longest(self) -> int:
        """Rows of the longest part."""
        return max(end - begin for begin, end in pairwise(self.bounds))

    def holds(self, rows: Tensor) -> Tensor:
        """Which of some rows of the table are held here. Shape ``[N]``, bool; asks nobody."""
        return (rows >= self.own.start) & (rows < self.own.stop)

    def draw_normal(self, weight: Tensor, deviation: float) -> None:
        """Draw the own rows from N(0, deviation): those that one process would have drawn.

        Args:
            weight: Set in place. Shape ``[I_own, D]``.
            deviation: Standard deviation.
        """
        # torch draws a tensor 16 numbers at a time, so that blocks of a multiple of 16 rows have
        # the numbers of the whole; the last block takes the rest, which may be too short alone.
        begins = [*range(0, max(self.n_rows - 15, 1), _ROWS_DRAWN_AT_A_TIME), self.n_rows]
        with torch.no_grad():
            for begin, end in pairwise(begins):
                block = weight.new_empty(end - begin, weight.shape[1]).normal_(0, deviation)
                first, last = max(begin, self.own.start), min(end, self.own.stop)
                if first < last:
                    held = slice(first - self.own.start, last - self.own.start)
                    weight[held] = block[first - begin : last - begin]

    def look_up(self, rows: Tensor, items: Tensor) -> Tensor:
        """Rows of any process, with their gradients.

        Args:
            rows: The own part of the table. Shape ``[I_own, ...]``.
            items: Numbers of rows in the whole table; each process asks for its own. Shape
                ``[N]``, int64.

        Returns:
            Shape ``[N, ...]``.
        """
        if not self.is_split:
            return rows.index_select(0, items)
        distinct, of_item = items.unique(return_inverse=True)
        bounds = torch.tensor(self.bounds, device=items.device)
        wanted = torch.searchsorted(distinct, bounds).diff().tolist()
        asked = gather_counts(wanted)[:, self.number].tolist()
        requests = _exchange(distinct, wanted, asked) - self.own.start
        found = rows.index_select(0, requests)
        received: Tensor = _Exchange.apply(found, asked, wanted)  # type: ignore[no-untyped-call, unused-ignore]
        return received.index_select(0, of_item)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place and without gradient."""
        if self.is_split:
            dist.all_reduce(values, group=loss_group())
        return values

    def largest(self, values: Tensor) -> Tensor:
        """The largest of the processes' values, in place and without gradient."""
        if self.is_split:
            dist.all_reduce(values, op=dist.ReduceOp.MAX, group=loss_group())
        return values

    def join(self, part: Tensor) -> Tensor:
        """The whole of a table, without gradient. Shapes ``[I_own, ...]`` to ``[I, ...]``."""
        return gather_parts(part, tuple(np.diff(self.bounds).tolist())) if self.is_split else part

    def beside(self, columns: Tensor) -> Tensor:
        """The same number of columns of each process, side by side. ``[N, k]`` to ``[N, W·k]``."""
        widths = (columns.shape[1],) * (len(self.bounds) - 1)
        return gather_parts(columns.T.contiguous(), widths).T


class ShardedWeight:
    """A mixin of modules whose ``weight`` has one row for each row of a table.

    Attributes:
        shards: Which rows this process holds.
    """

    shards: Shards
    weight: Any

    def average_gradient(self) -> None:
        """Let the gradient of the weight be that of the mean over the processes."""
        count = world_size()
        if self.shards.is_split:
            self.weight.register_hook(lambda gradient: gradient / count)

    def make_whole(self) -> None:
        """Hold all rows from here on; their values are those of a checkpoint that is read next."""
        if self.shards.is_split:
            self.shards = Shards.whole(self.shards.n_rows)
            shape = (self.shards.n_rows, *self.weight.shape[1:])
            self.weight = nn.Parameter(self.weight.new_zeros(shape))


def shards_of(model: Any) -> Shards | None:
    """Which items a model holds, where several processes share them; else None."""
    shards = getattr(model, "shards", None)
    return shards if isinstance(shards, Shards) and shards.is_split else None


def sharded_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of which this process holds some rows only, by name."""
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, ShardedWeight) and module.shards.is_split
    }


def _exchange(rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
    """Send consecutive rows to the processes in their order, and get theirs."""
    found = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(found, rows.contiguous(), received, sent, group=loss_group())
    return found


class _Exchange(torch.autograd.Function):
    """Rows sent to those that asked for them; gradients come back to the holders."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        return _exchange(rows.detach(), sent, received)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override, unused-ignore]
        return _exchange(gradient, ctx.received, ctx.sent), None, None
