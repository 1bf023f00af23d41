"""The base of models that are fitted once: arrays from the training part, and no parameter.

A subclass says what its arrays are (:meth:`ClosedForm.fit_arrays`) and how it weighs the items of a
history (:meth:`ClosedForm.weigh`). It gets RecBole's methods, ranks that never hold all scores at
once, serving without the data set, and an order of equal scores.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor

from recbole_hm4sr.base.errors import TrainingError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.serving_data import ORDER, ServingDataset, by_popularity, count_items
from recbole_hm4sr.layers.scorers import HasParts, InnerProducts, Scorer, UserRows
from recbole_hm4sr.model.scored_by_catalogue import ScoredByCatalogue
from recbole_hm4sr.model.trivial.scoring import (
    DenseRows,
    HistorySums,
    OrderedCatalogue,
    SparseRows,
)

Array = np.ndarray[Any, Any]


class ClosedForm(ScoredByCatalogue):
    """RecBole recommender that is fitted in one pass over the training part.

    The score of an item is its own, the same for every user, plus the sum over the newest items of
    the history of a weight times what the table has for the two items.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``.
        dataset: Training split of a ``MultiModalSequentialDataset``, or what was kept of it for
            serving.

    Attributes:
        settings_class: Class of the model's settings.
        reads: What the model reads besides items: of ``times``, ``features``.
        own_part: Name of what an item has by itself, as a part of its score.
        table_parts: A name for each part of the table.
        n_read: How many of the newest items of a history are read; None for all of the window.
    """

    input_type = InputType.POINTWISE
    settings_class: ClassVar[Any]
    reads: ClassVar[frozenset[str]] = frozenset()
    own_part: ClassVar[str] = "own"
    table_parts: tuple[str, ...] = ("history",)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings: Any = read_settings(config, self.settings_class)
        self.modalities = tuple(dataset.modality_names) if "features" in self.reads else ()
        self.n_read: int | None = None
        self._is_served = isinstance(dataset, ServingDataset)
        if isinstance(dataset, ServingDataset):
            self.set_arrays(dataset.data.arrays)

    # --- what a model says ---------------------------------------------------------------------

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """The model's arrays.

        Args:
            data: Training split of a ``MultiModalSequentialDataset``.
            counts: How often each item occurs in it. Shape ``[I]``, int64.

        Returns:
            Of ``own`` (what an item has by itself, ``[I]``), and of one table: ``offsets``,
            ``others``, ``values`` and perhaps ``parts``
            (:class:`~recbole_hm4sr.model.trivial.scoring.SparseRows`), or ``dense``. What is left
            out is 0.
        """
        raise NotImplementedError

    def weigh(self, items: Tensor) -> Tensor:
        """Weights of the items of a history.

        Args:
            items: Newest first, 0 where there are no more. Shape ``[N, H]``, int64.

        Returns:
            Shape ``[N, H]``, float64.
        """
        raise NotImplementedError

    # --- what it gets --------------------------------------------------------------------------

    def fit(self, data: Any) -> None:
        """Compute the arrays from the training part.

        Args:
            data: Training split of a ``MultiModalSequentialDataset``.

        Raises:
            UserError: If the model cannot be fitted to these data.
        """
        counts = count_items(data)
        self.set_arrays({ORDER: by_popularity(counts), **self.fit_arrays(data, counts)})

    def set_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Take arrays in place of those before.

        Args:
            arrays: NumPy arrays or tensors; those of :meth:`fit_arrays`, and ``order``, the items
                in the order in which equal scores are ranked. Shape ``[I]``, int64.
        """
        device = self.device
        self._buffers.clear()
        for name, values in arrays.items():
            self.register_buffer(name, torch.as_tensor(values).to(device))

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Take the arrays of a checkpoint; a model that is served has its own already."""
        if not self._is_served:
            self.set_arrays(state_dict)
            return None
        return super().load_state_dict(self.state_dict(), *args, **options)

    @property
    def table(self) -> SparseRows | DenseRows | None:
        """The rows of the items; None for a model whose scores are the same for every user."""
        arrays = self._buffers
        if "dense" in arrays:
            return DenseRows(self.dense)
        if "offsets" in arrays:
            return SparseRows(self.offsets, self.others, self.values, arrays.get("parts"))
        return None

    def scorer(self) -> Scorer:
        """What makes the scores of the items of a history and of what each item has by itself."""
        table = self.table
        return InnerProducts() if table is None else HistorySums(table, self.table_parts)

    def catalogue(self) -> OrderedCatalogue:
        """All items, in the order in which equal scores are ranked.

        Raises:
            TrainingError: If the model has not been fitted.
        """
        if ORDER not in self._buffers:
            raise TrainingError(f"{type(self).__name__} must be fitted before it scores: fit(data)")
        order = self.order
        own = self._buffers.get("own")
        if own is None:
            own = torch.zeros(len(order), dtype=self._dtype(), device=order.device)
        positions = torch.empty_like(order)
        positions[order] = torch.arange(len(order), device=order.device)
        return OrderedCatalogue(
            rows=own[order][:, None, None], items=order, positions=positions, scorer=self.scorer()
        )

    def _dtype(self) -> torch.dtype:
        table = self.table
        return torch.float32 if table is None else table.values.dtype

    def read(self, interaction: Interaction) -> UserRows:
        """The newest items of each history and their weights."""
        histories, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        n_read = min(histories.shape[1], self.n_read or histories.shape[1])
        own = self._buffers.get("own")
        dtype = self._dtype() if own is None else own.dtype
        ones = torch.ones(len(histories), 1, 1, dtype=dtype, device=histories.device)
        if self.table is None:
            return UserRows(ones)
        at = lengths[:, None] - 1 - torch.arange(n_read, device=histories.device)  # newest first
        items = histories.gather(1, at.clamp(min=0)).masked_fill(at < 0, 0)
        weights = self.weigh(items).to(dtype).masked_fill(items == 0, 0)
        return UserRows(ones, {"items": items, "weights": weights})

    def ask(self, interaction: Interaction) -> tuple[UserRows, OrderedCatalogue]:
        """The histories of a batch, and all items."""
        catalogue = self.catalogue()  # first: it says so where nothing was fitted
        return self.read(interaction), catalogue

    @property
    def part_names(self) -> tuple[str, ...]:
        """A name for each part of a score, whose sum it is."""
        scorer = self.scorer()
        more = scorer.names if isinstance(scorer, HasParts) else ()
        return ((self.own_part,) if "own" in self._buffers else ()) + more

    def score_parts(self, interaction: Interaction, items: Tensor) -> Tensor:
        """The parts of the scores of some items; their sum is the score.

        Args:
            interaction: A batch.
            items: Items of each sequence, shape ``[B, K]``, or the same of all, ``[K]``; int64.

        Returns:
            In the order of ``part_names``. Shape ``[B, K, parts]``.
        """
        users, catalogue = self.ask(interaction)
        parts = catalogue.parts(users, items)
        return parts if "own" in self._buffers else parts[..., 1:]

    def dense_scores(self, interaction: Interaction, items: Tensor) -> None:
        """None: what is left of a score is the same for every history."""
        del interaction, items

    def tie_order(self) -> Tensor:
        """All items in the order in which equal scores are ranked. Shape ``[I]``, int64."""
        order: Tensor = self.order
        return order

    def serving_arrays(self) -> dict[str, Array]:
        """All that the model scores with."""
        return {name: values.cpu().numpy() for name, values in self.state_dict().items()}


def newest_only(items: Tensor) -> Tensor:
    """Where each item of a history comes for the last time.

    Args:
        items: Newest first. Shape ``[N, H]``, int64.

    Returns:
        Shape ``[N, H]``, bool.
    """
    ordered, order = items.sort(dim=1, stable=True)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(is_first).scatter_(1, order, is_first)


def csr_arrays(matrix: Any) -> dict[str, Array]:
    """A SciPy sparse matrix as the arrays of a table.

    Args:
        matrix: Shape ``[I, I]``.
    """
    rows = matrix.tocsr()
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return {
        "offsets": rows.indptr.astype(np.int64),
        "others": rows.indices.astype(np.int32),
        "values": rows.data.astype(np.float32),
    }
