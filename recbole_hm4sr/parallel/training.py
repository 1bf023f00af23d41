"""Data-parallel training: several processes train one model.

Each process takes its share of every batch that one process would have; ``DistributedDataParallel``
averages the gradients, and the losses are weighted so that the average is the gradient of the whole
batch, whatever the shares are. In evaluation each process ranks some of the batches that one
process would have, and the ranks come together in the order of the users.
"""

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from recbole_hm4sr.base import compat
from recbole_hm4sr.parallel.processes import broadcast_tensors, rank, world_size
from recbole_hm4sr.parallel.rows import own_share, without_gathering
from recbole_hm4sr.parallel.shards import sharded_parameters

# Takes a batch; returns the losses by name.
NamedLosses = Callable[[Any], dict[str, Tensor]]


class SharedCollate:
    """Makes a process's share of a batch from the numbers of the whole batch.

    A batch of fewer samples than processes is made whole in every process.

    Args:
        collate: Makes a batch from the numbers of its samples.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, index: Any) -> Any:
        """The own share of a batch."""
        return self._collate(index if len(index) < world_size() else index[own_share(len(index))])


def share_batches(loader: Any) -> None:
    """Let a training loader of RecBole make this process's share of each batch.

    Its batches stay those of one process: all processes shuffle with the same generator.
    """
    if world_size() > 1:
        loader.collate_fn = SharedCollate(loader.collate_fn)


def rows_of_step(loader: Any, step: int) -> int:
    """Samples of all processes in a step of a training loader.

    Args:
        loader: Of RecBole's kind.
        step: Number of the step, from 1.
    """
    return int(min(loader.step, loader.sample_size - (step - 1) * loader.step))


class JoinedLosses:
    """The losses of a model on the whole batch, of which this process holds a share.

    Args:
        model: If its attribute ``has_global_rows`` is true, its losses are those of the global
            batch already (see :class:`~recbole_hm4sr.parallel.rows.GlobalRows`). The losses of
            other models are treated as means over samples, and weighted by the samples of each
            process.
        named_losses: Computes them.
    """

    def __init__(self, model: Any, named_losses: NamedLosses) -> None:
        self._joins_rows = bool(getattr(model, "has_global_rows", False))
        self._named_losses = named_losses
        self._module: Any = None
        if world_size() > 1:
            broadcast_tensors(_saved_buffers(model))
            module = _LossModule(model, self._losses_of_share)
            held = [f"model.{name}" for name in sharded_parameters(model)]
            compat.leave_out_of_ddp(module, held)
            with compat.ddp_without_buffer_sync() as options:
                self._module = DistributedDataParallel(
                    module,
                    find_unused_parameters=not self._joins_rows,
                    gradient_as_bucket_view=True,
                    **options,
                )

    def __call__(self, batch: Any, n_rows: int) -> dict[str, Tensor]:
        """Losses whose mean over the processes is that of the whole batch.

        Args:
            batch: The own share.
            n_rows: Samples of the whole batch.
        """
        if self._module is None:
            return self._named_losses(batch)
        losses: dict[str, Tensor] = self._module(batch, n_rows)
        return losses

    def _losses_of_share(self, batch: Any, n_rows: int) -> dict[str, Tensor]:
        trained_whole = n_rows < world_size()
        with without_gathering() if trained_whole else contextlib.nullcontext():
            losses = self._named_losses(batch)
        if trained_whole or self._joins_rows:
            return losses
        share = own_share(n_rows)
        weight = (share.stop - share.start) * world_size() / n_rows
        return {name: value * weight for name, value in losses.items()}


def _saved_buffers(model: nn.Module) -> list[Tensor]:
    """Buffers that a checkpoint holds: all but the features, which the fingerprints compare."""
    parameters = dict(model.named_parameters())
    return [tensor for name, tensor in model.state_dict().items() if name not in parameters]


class _LossModule(nn.Module):
    """A model whose ``forward`` is its losses: ``DistributedDataParallel`` hooks into no other."""

    def __init__(self, model: nn.Module, losses: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.model = model
        self._losses = losses

    def forward(self, *arguments: Any) -> dict[str, Tensor]:
        """The losses by name."""
        return self._losses(*arguments)


def seed_epoch(seed: int, epoch: int) -> None:
    """Give every process random numbers of its own for an epoch.

    They follow from seed, epoch and process, so a resumed run draws what it would have drawn. One
    process alone keeps its generators as they are.

    Args:
        seed: Of the run.
        epoch: From 0.
    """
    if world_size() == 1:
        return
    numbers = np.random.SeedSequence([abs(seed), epoch, rank()]).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]))  # noqa: NPY002
    torch.manual_seed(int(numbers[2]))


def own_batches(loader: Any) -> tuple[Iterable[Any], slice]:
    """The evaluation batches that this process ranks, and the samples they hold.

    Batches are those of one process, so that every score has the same digits; a process may have
    one more than another, or none.

    Args:
        loader: RecBole's full-sort loader.
    """
    if world_size() == 1:
        return loader, slice(None)
    n_batches = -(-loader.sample_size // loader.step)
    share = own_share(n_batches)
    begin = min(share.start * loader.step, loader.sample_size)
    end = min(share.stop * loader.step, loader.sample_size)
    batches: DataLoader[Any] = DataLoader(
        range(begin, end),  # type: ignore[arg-type, unused-ignore]
        batch_size=loader.step,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        generator=torch.Generator(),
    )
    return batches, slice(begin, end)
