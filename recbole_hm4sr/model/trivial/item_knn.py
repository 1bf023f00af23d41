"""ItemKNN: what was bought before and after the newest items of a history, and what is like them.

Reference:
    Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001.

Pairs are counted by how near they are in a history, in place of the whole of it.

- `pairs(i, j)`: the sum of 1 / k over users and positions s with i and j at s and s + k, in either
  order, k up to `memory_reach`.
- `table(i, j) = pairs(i, j) / (count(i) count(j))^memory_damping`, plus `cos(i, j)` for each
  modality, where j is one of the `memory_neighbours` nearest items of i.
- `score(j)`: the sum over h of `memory_decay^h table(i, j)`, i the item h before the newest.

With `counts: as_of` pairs and counts are those of the memory of events, known at the moment of the
request; all its relations weigh 1.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_hm4sr.data.memory_files import PREFIX
from recbole_hm4sr.data.neighbours import nearest_items
from recbole_hm4sr.data.serving_data import ORDER, by_popularity
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.scorers import Scorer, UserRows
from recbole_hm4sr.model.capabilities import View
from recbole_hm4sr.model.memory import (
    arrays_to_keep,
    build_memory_scorer,
    gap_in_ticks,
    make_request_reader,
    memory_arrays,
)
from recbole_hm4sr.model.refresh import MemoryRefresh, refreshes
from recbole_hm4sr.model.requests import RequestReader
from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm, csr_arrays
from recbole_hm4sr.model.trivial.settings import ItemKNNSettings

# Names of buffers have no dots.
_DOT = "/"
_OF_MEMORY = PREFIX.replace(".", _DOT)


class ItemKNN(ClosedForm):
    """Neighbours of the newest items of a history, by pairs of items and by features.

    Nothing is trained, and a fit takes seconds.

    Differs from RecBole's ItemKNN:
        That one takes the whole history as a set and knows no users it was not fitted on. Here
        near pairs count more, newer items count more, features count, and any history has scores.
    """

    settings_class = ItemKNNSettings
    settings: ItemKNNSettings
    reads = frozenset({"features"})

    def __init__(self, config: Any, dataset: Any) -> None:
        # What reads the memory is no module of the model: its arrays are in buffers already.
        self.__dict__["_memory"] = None
        super().__init__(config, dataset)
        self.n_read = self.settings.memory_reach
        if not self.settings.memory_neighbours:
            self.modalities = ()
        self.table_parts = ("pairs", *(f"near_{name}" for name in self.modalities))
        self._of_request, self._config, self._dataset = config["TIME_FIELD"], config, dataset

    @property
    def reads_request_time(self) -> bool:
        """Whether a score depends on when it is asked for."""
        return self.settings.counts == "as_of" and self.settings.request_time == "target"

    def views(self) -> tuple[View, ...]:
        """As of the request, one for each value of ``memory_refresh`` where there are several."""
        several = refreshes(self.settings.memory_refresh)
        if self.settings.counts == "all" or len(several) < 2:
            return ()
        return tuple(View(name, partial(self._refreshed, name)) for name in several)

    def _refreshed(self, refresh: MemoryRefresh) -> AbstractContextManager[None]:
        return self._reading()[0].refreshed(refresh)

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """The memory; or the table: damped counts of pairs, and cosines."""
        if self.settings.counts == "as_of":
            arrays = memory_arrays(data, self.settings, self.modalities)
            return arrays_to_keep(arrays)
        import scipy.sparse

        settings, n_items = self.settings, len(counts)
        shown = data.shown_interactions().numpy()
        pairs = count_pairs(
            data.log.items[shown], data.log.users[shown], n_items, reach=settings.memory_reach
        )
        damping = scipy.sparse.diags(np.maximum(counts, 1.0) ** -settings.memory_damping)
        cosines = [self._cosines(data.comparable_rows(name), n_items) for name in self.modalities]
        return parts_of_rows([damping @ pairs @ damping, *cosines])

    def _cosines(self, rows: Any, n_items: int) -> Any:
        import scipy.sparse

        near, cosines = nearest_items(rows, n_neighbours=self.settings.memory_neighbours)
        here = near > 0
        from_item = np.nonzero(here)[0]
        return scipy.sparse.csr_matrix(
            (cosines[here], (from_item, near[here])), shape=(n_items, n_items)
        )

    def set_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Take arrays in place of those before; what reads them is made when it is asked for."""
        of_memory = (name for name in arrays if name.startswith(PREFIX))
        names = {name: name.replace(".", _DOT) for name in of_memory}
        super().set_arrays({names.get(name, name): values for name, values in arrays.items()})
        self.__dict__["_memory"] = None

    def serving_arrays(self) -> dict[str, Array]:
        """All that the model scores with; the memory under the names that every memory has.

        What is served with a memory orders equal scores by all that the memory knows.
        """
        arrays = {
            name.replace(_DOT, ".") if name.startswith(_OF_MEMORY) else name: values
            for name, values in super().serving_arrays().items()
        }
        if self.settings.counts == "as_of":
            arrays[ORDER] = by_popularity(np.diff(arrays[f"{PREFIX}starts"]))
        return arrays

    def weigh(self, items: Tensor) -> Tensor:
        """A power of the decay."""
        since = torch.arange(items.shape[1], dtype=torch.float64, device=items.device)
        return (self.settings.memory_decay**since).expand(items.shape)

    # --- as of the request ---------------------------------------------------------------------

    def scorer(self) -> Scorer:
        """The table's; with ``counts: as_of`` the memory's."""
        return super().scorer() if self.settings.counts == "all" else self._reading()[1]

    def read(self, interaction: Interaction) -> UserRows:
        """The newest items of each history; with ``counts: as_of`` the moment of its request."""
        if self.settings.counts == "all":
            return super().read(interaction)
        reader, _ = self._reading()
        own = interaction[self._of_request].cpu() if self._of_request in interaction else None
        of_times = self._of_request + self._config["LIST_SUFFIX"]
        columns = (self.ITEM_SEQ, of_times, self.ITEM_SEQ_LEN)
        items, times, lengths = (interaction[name].cpu() for name in columns)
        requests = reader.of_windows(items, times, lengths, own)
        read = {**requests._asdict(), "known_until": reader.known_until(requests.moments)}
        side = {name: values.to(self.device) for name, values in read.items()}
        ones = torch.ones(len(items), 1, 1, dtype=self._dtype(), device=self.device)
        return UserRows(ones, side)

    def _dtype(self) -> torch.dtype:
        if self.settings.counts == "all":
            return super()._dtype()
        return self._reading()[1].alpha.dtype

    def _apply(self, *args: Any, **options: Any) -> Any:
        """Move or convert what reads the memory, too."""
        if self._memory is not None:
            self._memory[1]._apply(*args, **options)
        return super()._apply(*args, **options)

    def _reading(self) -> tuple[RequestReader, MemoryScorer]:
        """What reads requests, and what scores them."""
        if self._memory is None:
            arrays = {
                name.removeprefix(_OF_MEMORY).replace(_DOT, "."): values.cpu().numpy()
                for name, values in self._buffers.items()
                if name.startswith(_OF_MEMORY) and values is not None
            }
            reader = make_request_reader(arrays, self.settings, self._config, self._dataset)
            scorer = build_memory_scorer(
                arrays,
                self.settings,
                modalities=self.modalities,
                unit=self._dataset.timestamp_unit,
                gap=gap_in_ticks(self._dataset),
            ).to(self.device)
            nn.init.ones_(scorer.alpha)  # all relations weigh the same
            self.__dict__["_memory"] = reader, scorer
        memory: tuple[RequestReader, MemoryScorer] = self._memory
        return memory


def parts_of_rows(matrices: Sequence[Any]) -> dict[str, Array]:
    """The sum of SciPy sparse matrices as the arrays of a table, a part each.

    Args:
        matrices: Each of shape ``[I, I]``.
    """
    tables = [csr_arrays(matrix) for matrix in matrices]
    counts = [len(table["values"]) for table in tables]
    rows = np.concatenate(
        [np.repeat(np.arange(len(o) - 1), np.diff(o)) for o in _all(tables, "offsets")]
    )
    order = np.argsort(rows, kind="stable")
    return {
        "offsets": np.sum(_all(tables, "offsets"), axis=0),
        "others": np.concatenate(_all(tables, "others"))[order],
        "values": np.concatenate(_all(tables, "values"))[order],
        "parts": np.repeat(np.arange(len(tables), dtype=np.uint8), counts)[order],
    }


def _all(tables: Sequence[Mapping[str, Array]], name: str) -> list[Array]:
    return [table[name] for table in tables]


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
