"""Whitening: linear maps that make frozen features uncorrelated, with one variance."""

from typing import Any, Literal, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
# A direction of less variance than this share of the largest is noise: it would be blown up to the
# same variance as the others.
_LEAST_SHARE = 1e-5


class Whitening(NamedTuple):
    """A linear map of features: ``(x - mean) @ matrix``.

    Attributes:
        mean: Shape ``[F]``, float64.
        matrix: Shape ``[F, d]``, float64.
        n_dropped: Directions of next to no variance, which the map sends to 0.
    """

    mean: Array
    matrix: Array
    n_dropped: int

    def __call__(self, x: Array) -> Array:
        """Shapes ``[N, F]`` to ``[N, d]``."""
        return (x - self.mean) @ self.matrix


def find_whitening(
    features: Array, kind: Literal["none", "pca", "zca"], *, groups: int = 1
) -> Whitening:
    r"""The map that whitens features by their own statistics.

    ``zca`` keeps the axes, within runs of F / G neighbouring columns:
    :math:`Z = (X - \mu) U S^{-1/2} U^T` with :math:`U S U^T = (X - \mu)^T (X - \mu) / N`. ``pca``
    turns them, largest variance first: :math:`Z = (X - \mu) U S^{-1/2}` with N - 1 in place of N.

    Args:
        features: Rows of items that have some. Shape ``[N, F]``.
        kind: ``none`` leaves them as they are.
        groups: G, of ``zca``; more of them keep more of the neighbourhoods. Must divide F.

    Raises:
        ValueError: If G does not divide F, or there are no rows.
    """
    x = np.asarray(features, dtype=np.float64)
    n_rows, width = x.shape
    if kind == "none":
        return Whitening(np.zeros(width), np.eye(width), 0)
    if not n_rows:
        raise ValueError("features must have a row to be whitened")
    if width % groups:
        raise ValueError(f"groups must divide the width of the features, got {groups} and {width}")
    mean, run = x.mean(axis=0), width // groups
    matrix, n_dropped = np.zeros((width, width)), 0
    for begin in range(0, width, run):
        part = slice(begin, begin + run)
        centred = x[:, part] - mean[part]
        divisor = n_rows if kind == "zca" else max(1, n_rows - 1)
        values, vectors = np.linalg.eigh(centred.T @ centred / divisor)
        values, vectors = values[::-1], vectors[:, ::-1]  # largest first
        is_kept = values > max(_LEAST_SHARE * values[0], 0)
        n_dropped += int((~is_kept).sum())
        scale = np.where(is_kept, values, 1) ** -0.5 * is_kept
        turned = vectors * scale
        matrix[part, part] = turned @ vectors.T if kind == "zca" else turned
    return Whitening(mean, matrix, n_dropped)
