"""The nearest items of each item, or those of them that one of several processes holds."""

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.sparse_scores import FixedStore
from recbole_hm4sr.parallel.shards import Shards


class NeighbourLists(nn.Module):
    """A list of neighbours for each item, nearest first.

    Args:
        items: The nearest items of each item, 0 where there are no more. Shape ``[I, k]``, int32.
        cosines: Theirs. Shape ``[I, k]``, floating.
        shards: A neighbour is held by the process that holds it as an item.
    """

    items: Tensor
    cosines: Tensor
    begins: Tensor
    ends: Tensor

    def __init__(self, items: Tensor, cosines: Tensor, shards: Shards) -> None:
        super().__init__()
        counts = (items > 0).sum(dim=1)
        if shards.is_split:
            owner, rank = (shards.holds(items) & (items > 0)).nonzero(as_tuple=True)
            counts = torch.bincount(owner, minlength=len(items))
            items, cosines = items[owner, rank], cosines[owner, rank]
            begins = counts.cumsum(0) - counts
        else:
            begins = torch.arange(len(items)) * items.shape[1]
        self.register_buffer("items", items.flatten(), persistent=False)
        self.register_buffer("cosines", cosines.flatten(), persistent=False)
        self.register_buffer("begins", begins, persistent=False)
        self.register_buffer("ends", begins + counts, persistent=False)

    @property
    def store(self) -> FixedStore:
        """The entries of the lists."""
        return FixedStore(self.items, self.cosines)

    def near_to(self, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In whose lists items are, and how near they are there.

        Args:
            wanted: Which items. Shape ``[I]``, bool.

        Returns:
            Whose list, the item and its cosine, of each entry; of shape ``[E]``.
        """
        at = wanted.index_select(0, self.items).nonzero()[:, 0]
        owner = torch.searchsorted(self.begins, at, right=True) - 1
        inside = at < self.ends[owner]  # not what lies between two lists
        owner, at = owner[inside], at[inside]
        return owner, self.items[at], self.cosines[at]
