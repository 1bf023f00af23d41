"""The catalogue of an evaluation, kept while the weights stay."""

from collections.abc import Callable, Sequence

from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue


class CatalogueCache:
    """The whole catalogue of an evaluation, made again only when a weight has changed."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._catalogue: Catalogue | None = None

    def get(
        self,
        weights: Sequence[Tensor],
        rows: Callable[[], Tensor],
        make: Callable[[Tensor], Catalogue] = Catalogue,
    ) -> Catalogue:
        """The catalogue.

        Args:
            weights: All that the rows depend on, at least one.
            rows: Makes the rows of all items, ``[I, M, D]``; or of those that this process holds.
            make: Makes the catalogue of these rows.
        """
        key = tuple(part for weight in weights for part in (weight._version, weight.data_ptr()))
        if self._catalogue is None or self._key != key:
            self._key, self._catalogue = key, make(rows())
        return self._catalogue

    def forget(self) -> None:
        """Make it again the next time: fused optimizers leave the versions of weights alone."""
        self._catalogue = None
