"""The nearest items of each item by the cosine of their features."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.data.array_files import map_once, write_array

Array = np.ndarray[Any, Any]
_STEP = 1e-9  # of rounded cosines


def nearest_items(rows: Any, *, n_neighbours: int, batch: int = 64) -> tuple[Array, Array]:
    """The nearest other items of each item by the cosine of their features.

    Cosines are rounded to nine digits, so that equal ones are equal in whatever order they were
    summed.

    Args:
        rows: Features by item number, a matrix or a SciPy sparse matrix; row 0 is padding. Rows of
            zeros have no neighbours and are nobody's. Shape ``[I, F]``.
        n_neighbours: At most as many for each item.
        batch: Items at a time.

    Returns:
        Item numbers, nearest first, of equal cosines the lower number; 0 where there are no more.
        Shape ``[I, k]``, int32. Their cosines, all above 0; 0 where there are no more. Shape
        ``[I, k]``, float64.
    """
    n_items = rows.shape[0]
    near = np.zeros((n_items, n_neighbours), dtype=np.int32)
    found = np.zeros((n_items, n_neighbours))
    blocks = _dense_cosines if isinstance(rows, np.ndarray) else _sparse_cosines
    for begin, block in blocks(rows, batch):
        row, place = np.nonzero(block.cosines >= _least(block.cosines, n_neighbours))
        others, values = block.items(row, place), np.round(block.cosines[row, place], 9)
        is_near = (others != row + begin) & (values > 0)
        row, others, values = row[is_near], others[is_near], values[is_near]
        order = np.lexsort((others, -values, row))
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        best = rank < n_neighbours
        near[row[best] + begin, rank[best]] = others[order[best]]
        found[row[best] + begin, rank[best]] = values[order[best]]
    return near, found


def map_nearest_items(folder: Path, rows: Any, *, n_neighbours: int) -> tuple[Array, Array]:
    """:func:`nearest_items`, mapped: one process of a machine finds them, and all hold them once.

    Args:
        folder: Of the files.
        rows: As :func:`nearest_items` takes them.
        n_neighbours: At most as many for each item.

    Raises:
        DataError: If they cannot be written.
    """
    is_dense = isinstance(rows, np.ndarray)
    digest = hashlib.sha256(f"nearest 1, {rows.shape}, {n_neighbours}".encode())
    for part in (rows,) if is_dense else (rows.data, rows.indices, rows.indptr):
        digest.update(str(part.dtype).encode())
        digest.update(np.ascontiguousarray(part).data)

    def write() -> dict[str, str]:
        near, cosines = nearest_items(rows, n_neighbours=n_neighbours)
        return {"items": write_array(folder, near), "cosines": write_array(folder, cosines)}

    found = map_once(folder, digest.hexdigest(), write)
    return found["items"], found["cosines"]


def _least(cosines: Array, n_neighbours: int) -> Array:
    """What a cosine must be to be among the nearest after all were rounded. Shape ``[B, 1]``."""
    n_wanted = n_neighbours + 1  # the item itself may be one
    place = cosines.shape[1] - n_wanted
    if place <= 0:
        return np.full((len(cosines), 1), _STEP / 2)
    last = np.partition(cosines, place, axis=1)[:, place, None]
    return np.maximum(last - _STEP, _STEP / 2)


class _Cosines(NamedTuple):
    """Cosines of some items with others; zeros behind a row's last. Shape ``[B, W]``.

    The item of the cosine at place w of row b is ``others[begins[b] + w]``.
    """

    cosines: Array
    others: Array
    begins: Array

    def items(self, row: Array, place: Array) -> Array:
        return self.others[self.begins[row] + place]


def _sparse_cosines(rows: Any, batch: int) -> Iterator[tuple[int, _Cosines]]:
    """The first item of each block, and the cosines of its items that are not 0."""
    import scipy.sparse

    sparse = scipy.sparse.csr_matrix(rows, dtype=np.float64)
    lengths = np.sqrt(np.asarray(sparse.multiply(sparse).sum(axis=1)).ravel())
    unit = scipy.sparse.csr_matrix(scipy.sparse.diags(_inverse(lengths)) @ sparse)
    turned = scipy.sparse.csr_matrix(unit.T)
    for begin in range(0, sparse.shape[0], batch):
        block = (unit[begin : begin + batch] @ turned).tocsr()
        counts = np.diff(block.indptr)
        cosines = np.zeros((len(counts), counts.max()))
        cosines[np.arange(counts.max()) < counts[:, None]] = block.data
        yield begin, _Cosines(cosines, block.indices, block.indptr)


def _dense_cosines(rows: Array, batch: int) -> Iterator[tuple[int, _Cosines]]:
    """As :func:`_sparse_cosines`, with all items in their order."""
    unit = rows.astype(np.float64)
    unit *= _inverse(np.sqrt((unit * unit).sum(axis=1)))[:, None]
    every = np.arange(len(rows))
    for begin in range(0, len(rows), batch):
        block = unit[begin : begin + batch]
        yield begin, _Cosines(block @ unit.T, every, np.zeros(len(block), dtype=np.int64))


def _inverse(lengths: Array) -> Array:
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
