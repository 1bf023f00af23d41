"""EASE: a linear model of which items a user has, in closed form.

Reference:
    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv:1905.03375.

X is the 0/1 matrix of users and items of the training part.

- `P = (X^T X + l2_weight I)^-1`.
- `table(i, j) = -P(i, j) / P(j, j)`, and 0 on the diagonal.
- `score(j)`: the sum of `table(i, j)` over the distinct items i of the history.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.serving_data import count_items
from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm, newest_only
from recbole_hm4sr.model.trivial.settings import EASESettings

_MOST_ITEMS = 20_000
_BYTES = 8 + 4  # of each pair of items: the matrix, inverted in place, and the weights


class EASE(ClosedForm):
    """Weights of every pair of items that best restore each user's items from the others.

    It takes time with the cube of the number of items, minutes for 12,000, and memory with its
    square: more than 20,000 items are refused. The model keeps the largest weights of each row;
    ``metrics.json`` has the validation metrics of all of them too (``valid_as_fitted``).

    Differs from RecBole's EASE:
        That one scores the training's users alone. Here any history has scores: its window is the
        row of X.
    """

    settings_class = EASESettings
    table_parts = ("weights",)
    settings: EASESettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._whole: Tensor | None = None  # until what it is worth beside the largest is measured
        n_items = self.n_items - 1
        if n_items > _MOST_ITEMS:
            raise ConfigError(
                f"EASE takes data of at most {_MOST_ITEMS:,} items, got {n_items:,}, whose weights "
                f"need {_BYTES * n_items**2 / 2**30:.1f} GB of memory; choose another model or "
                f"raise item_inter_num_interval"
            )

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:
        """The largest weights of each item."""
        import scipy.sparse

        shown = data.shown_interactions().numpy()
        users, items = data.log.users[shown], data.log.items[shown]
        has = scipy.sparse.csr_matrix(
            (np.ones(len(items)), (users, items)), shape=(data.user_num, len(counts))
        )
        has.data[:] = 1.0  # an item twice is an item
        self._whole = torch.from_numpy(ease_weights(has, self.settings.l2_weight))
        return largest_weights(self._whole, self.settings.served_weights)

    def weigh(self, items: Tensor) -> Tensor:
        """1 for each distinct item."""
        return newest_only(items).double()

    @contextlib.contextmanager
    def as_fitted(self, data: Any) -> Iterator[None]:
        """While the context lasts, the model scores with all weights; then they are forgotten.

        They are in no file: where another process has fitted the model, it is fitted again.

        Args:
            data: Training split of a ``MultiModalSequentialDataset``.
        """
        kept = dict(self._buffers)
        if self._whole is None:
            self.fit_arrays(data, count_items(data))
        self.set_arrays({"order": kept["order"], "dense": self._whole})
        try:
            yield
        finally:
            self._whole = None
            self.set_arrays(kept)


def ease_weights(has: Any, l2_weight: float) -> Array:
    """The weights of all pairs of items.

    Args:
        has: SciPy sparse matrix of 0 and 1, users and items; column 0 is padding. ``[U, I]``.
        l2_weight: Added to the diagonal.

    Returns:
        Row and column of padding are 0. Shape ``[I, I]``, float32.
    """
    from scipy.linalg import lapack

    common = (has.T @ has).toarray(order="F")[1:, 1:].copy(order="F")
    common[np.diag_indices_from(common)] += l2_weight
    # The inverse by the Cholesky factor, in place: one matrix in memory.
    factor, failed = lapack.dpotrf(common, lower=1, overwrite_a=1, clean=0)
    inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ConfigError(f"l2_weight must be larger for these data, got {l2_weight}")
    diagonal = np.diag(inverse).copy()
    n_items = len(inverse) + 1
    weights = np.zeros((n_items, n_items), dtype=np.float32)
    for row in range(n_items - 1):  # the lower half of P holds column by column what a row needs
        weights[row + 1, 1 : row + 2] = -inverse[row, : row + 1] / diagonal[: row + 1]
        weights[row + 1, row + 2 :] = -inverse[row + 1 :, row] / diagonal[row + 1 :]
        weights[row + 1, row + 1] = 0
    return weights


def largest_weights(weights: Tensor, n_kept: int) -> dict[str, Array]:
    """The weights of each row that are largest in absolute value, as the arrays of a table.

    Args:
        weights: Shape ``[I, I]``, floating.
        n_kept: Weights of a row.
    """
    n_items, n_kept = len(weights), min(n_kept, len(weights))
    others = torch.cat([rows.abs().topk(n_kept, dim=1).indices for rows in weights.split(1024)])
    others = others.sort(dim=1).values
    return {
        "offsets": np.arange(n_items + 1) * n_kept,
        "others": others.flatten().int().cpu().numpy(),
        "values": weights.gather(1, others).flatten().cpu().numpy(),
    }
