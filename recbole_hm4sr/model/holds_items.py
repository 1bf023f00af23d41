"""What a packed model has of the items: all of them, or the part that this process holds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.config.settings import RunSettings, read_settings
from recbole_hm4sr.layers.catalogue_cache import CatalogueCache
from recbole_hm4sr.layers.items import FeatureTable
from recbole_hm4sr.model.with_memory import WithMemory
from recbole_hm4sr.parallel.processes import world_size
from recbole_hm4sr.parallel.shards import ShardedWeight, Shards

Array = np.ndarray[Any, Any]
_ROWS_AT_A_TIME = 65_536


class HoldsItems(WithMemory):
    """Recommender whose items may lie in several processes."""

    def share_items(self, config: Any) -> None:
        """Hold all items, or the own part of them where the settings and ``torchrun`` say so.

        Args:
            config: RecBole ``Config``.

        Raises:
            ConfigError: If there are fewer items than processes.
        """
        shared = read_settings(config, RunSettings).catalogue_rows == "sharded"
        shared = shared and world_size() > 1
        self.shards = (Shards.of_processes if shared else Shards.whole)(self.n_items)
        self._cache = CatalogueCache()

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """The rows of some items, or of all that are held: a model says what they are."""
        raise NotImplementedError

    def _all_rows(self) -> Tensor:
        """The rows of all items, or of those that this process holds. Shape ``[K, M, D]``."""
        if self.shards.is_split:
            return self.item_rows()
        # Some rows at a time: features that are read when asked for may be larger than memory.
        items = torch.arange(self.n_items, device=next(self.parameters()).device)
        return torch.cat([self.item_rows(some) for some in items.split(_ROWS_AT_A_TIME)])

    def make_whole(self) -> None:
        """Hold all items from here on, and their rows as a checkpoint that is read next has them.

        For scoring alone: features are read when they are asked for.
        """
        self.shards = Shards.whole(self.n_items)
        for module in self.modules():
            if isinstance(module, (ShardedWeight, FeatureTable)):
                module.make_whole()
        self.make_memory_whole()
        self._cache.forget()
