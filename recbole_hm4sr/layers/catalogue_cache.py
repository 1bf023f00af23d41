"""The catalogue of an evaluation, kept between its batches."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue

_ROWS_AT_A_TIME = 65_536


class CatalogueCache:
    """The whole catalogue of an evaluation, made again only when a weight has changed."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._catalogue: Catalogue | None = None

    def get(
        self,
        weights: Sequence[Tensor],
        rows: Callable[[Tensor], Tensor],
        n_items: int,
        make: Callable[[Tensor], Catalogue] = Catalogue,
    ) -> Catalogue:
        """The catalogue.

        Args:
            weights: All that the rows depend on, at least one.
            rows: Makes the rows of some items. Shapes ``[N]``, int64, to ``[N, M, D]``.
            n_items: I, padding included.
            make: Makes the catalogue of all rows.
        """
        key = tuple(part for weight in weights for part in (weight._version, weight.data_ptr()))
        if self._catalogue is None or self._key != key:
            # Some rows at a time: features that are read when asked for may be larger than memory.
            items = torch.arange(n_items, device=weights[0].device)
            parts = [rows(some) for some in items.split(_ROWS_AT_A_TIME)]
            self._key, self._catalogue = key, make(torch.cat(parts))
        return self._catalogue

    def forget(self) -> None:
        """Make it again the next time: fused optimizers leave the versions of weights alone."""
        self._catalogue = None
