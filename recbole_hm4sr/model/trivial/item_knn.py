"""ItemKNN: what was bought before and after the newest items of a history, and what is like them.

Reference:
    Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001.

Pairs are counted by how near they are in a history, in place of the whole of it.

- `pairs(i, j)`: the sum of 1 / k over users and positions s with i and j at s and s + k, in either
  order, k up to `memory_reach`.
- `table(i, j) = pairs(i, j) / (count(i) count(j))^memory_damping`, plus `cos(i, j)` for each
  modality, where j is one of the `memory_neighbours` nearest items of i.
- `score(j)`: the sum over h of `memory_decay^h table(i, j)`, i the item h before the newest.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.events import nearest_items
from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm, csr_arrays
from recbole_hm4sr.model.trivial.settings import ItemKNNSettings


class ItemKNN(ClosedForm):
    """Neighbours of the newest items of a history, by pairs of the training part and by features.

    Nothing is trained, and a fit takes seconds.

    Differs from RecBole's ItemKNN:
        That one takes the whole history as a set and knows no users it was not fitted on. Here
        near pairs count more, newer items count more, features count, and any history has scores.
    """

    settings_class = ItemKNNSettings
    settings: ItemKNNSettings
    reads = frozenset({"features"})

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.n_read = self.settings.memory_reach

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """The table: damped counts of pairs, plus cosines."""
        import scipy.sparse

        settings, n_items = self.settings, len(counts)
        shown = data.shown_interactions().numpy()
        pairs = count_pairs(
            data.log.items[shown], data.log.users[shown], n_items, reach=settings.memory_reach
        )
        damping = scipy.sparse.diags(np.maximum(counts, 1.0) ** -settings.memory_damping)
        table = damping @ pairs @ damping
        if settings.memory_neighbours:
            for name in self.modalities:
                table = table + self._cosines(data.comparable_rows(name), n_items)
        return csr_arrays(table)

    def _cosines(self, rows: Any, n_items: int) -> Any:
        import scipy.sparse

        near, cosines = nearest_items(rows, n_neighbours=self.settings.memory_neighbours)
        here = near > 0
        from_item = np.nonzero(here)[0]
        return scipy.sparse.csr_matrix(
            (cosines[here], (from_item, near[here])), shape=(n_items, n_items)
        )

    def weigh(self, items: Tensor) -> Tensor:
        """A power of the decay."""
        since = torch.arange(items.shape[1], dtype=torch.float64, device=items.device)
        return (self.settings.memory_decay**since).expand(items.shape)


def count_pairs(items: Array, users: Array, n_items: int, *, reach: int) -> Any:
    """How often two items stand near each other in a history, either first.

    Args:
        items: Histories of all users, one after another, oldest first. Shape ``[N]``, int64.
        users: The user of each. Shape ``[N]``, int64.
        n_items: I.
        reach: Pairs are at most so many interactions apart.

    Returns:
        A symmetric SciPy sparse matrix of sums of 1 / distance. Shape ``[I, I]``, float64.
    """
    import scipy.sparse

    pairs = scipy.sparse.csr_matrix((n_items, n_items))
    for k in range(1, reach + 1):
        earlier = np.flatnonzero(users[:-k] == users[k:])
        places = (items[earlier], items[earlier + k])
        weights = np.full(len(earlier), 1 / k)
        pairs = pairs + scipy.sparse.csr_matrix((weights, places), shape=pairs.shape)
    return pairs + pairs.T
