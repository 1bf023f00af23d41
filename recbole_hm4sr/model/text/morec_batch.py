"""Batches of MoRec: the tokens, and a negative item for each target."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.model.batch_reader import BatchReader

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MoRecBatch(PackedBatch):
    """A batch as MoRec reads it.

    Attributes:
        negatives: An item for each target, 0 where its user has every item. None where no loss
            reads it. Shape ``[N]``, int64.
    """

    negatives: Tensor | None = None


class UserItems:
    """The distinct items of each user in the training part, to draw others.

    Args:
        users: User of each interaction. Shape ``[N]``, int64.
        items: Its item. Shape ``[N]``, int64.
        n_items: I, padding included.
    """

    def __init__(self, users: Array, items: Array, n_items: int) -> None:
        self.n_items = n_items
        keys = np.unique(users.astype(np.int64) * n_items + items)
        owners = keys // n_items
        self._owners = owners
        first = np.searchsorted(owners, owners)
        # How many items of another number come before each: sorted within its user.
        self._others = owners * n_items + keys % n_items - 1 - (np.arange(len(keys)) - first)

    def draw_others(self, users: Array, numbers: Array) -> Array:
        """An item that a user does not have, for each of some users, all equally likely.

        Args:
            users: Shape ``[R]``, int64.
            numbers: Drawn uniformly from [0, 1). Shape ``[R]``, float64.

        Returns:
            Shape ``[R]``, int64; 0 where a user has every item.
        """
        begins = np.searchsorted(self._owners, users)
        owned = np.searchsorted(self._owners, users, side="right") - begins
        n_others = self.n_items - 1 - owned
        chosen = np.minimum((numbers * n_others).astype(np.int64), np.maximum(n_others - 1, 0))
        before = np.searchsorted(self._others, users * self.n_items + chosen, side="right")
        return np.where(n_others > 0, 1 + chosen + before - begins, 0)


@dataclass(frozen=True)
class MoRecReader(BatchReader):
    """Arranges a batch of RecBole for MoRec, and draws its negatives.

    Attributes:
        n_items: I, padding included; 0 where no negatives are read.
        owned: The items that each user has; None where every item may be drawn.
        user_of: User of each interaction of the flat histories; with ``owned``. Shape ``[N]``.
    """

    n_items: int = 0
    owned: UserItems | None = None
    user_of: Array | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        if not train or not self.n_items:
            return MoRecBatch(**vars(batch))
        targets = cast(Tensor, batch.targets)
        numbers = torch.rand(len(targets), dtype=torch.float64).numpy()
        if self.owned is None:
            drawn = 1 + (numbers * (self.n_items - 1)).astype(np.int64)
        else:
            drawn = self.owned.draw_others(self._users(batch, interaction), numbers)
        wanted = np.union1d(cast(Array, batch.wanted), drawn)
        return MoRecBatch(**{**vars(batch), "wanted": wanted}, negatives=torch.from_numpy(drawn))

    def _users(self, batch: PackedBatch, interaction: Interaction) -> Array:
        """User of each target."""
        packing = batch.packing
        tokens = packing.last if batch.read_at is None else batch.read_at
        firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[tokens]]
        assert self.user_of is not None
        users: Array = self.user_of[firsts.numpy()]
        return users
