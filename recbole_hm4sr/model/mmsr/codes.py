"""Modality features as discrete codes: each item linked to its nearest clusters.

The features of one modality are reduced to the model's width, clustered, and each item linked to
its k nearest centroids. The result depends on the features and the recipe alone, so it is kept on
disk under a fingerprint of all of them.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import dataclasses
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.config.choices import CodeReduction
from recbole_hm4sr.data.npz import DAMAGE
from recbole_hm4sr.model.mmsr.autoencoder import encode_with_autoencoder

_LOGGER = logging.getLogger(__name__)

# Raised by whoever changes what a recipe gives.
_CACHE_VERSION = 2
_DISTANCE_ROWS = 4096

Matrix = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeRecipe:
    """How features become codes.

    Attributes:
        hidden_size: Width the features are reduced to, so that a centroid can be the first
            embedding of its code.
        n_codes: Clusters wanted; fewer if there are fewer distinct rows.
        n_links: Nearest clusters each item is linked to; at most the number of clusters.
        reduction: ``pca``, ``ae`` (an autoencoder, as the authors have it) or ``none``.
        seed: Seed of the reduction and of k-means.
    """

    hidden_size: int
    n_codes: int
    n_links: int
    reduction: CodeReduction
    seed: int


@dataclasses.dataclass(frozen=True)
class ItemCodes:
    """The codes of one modality.

    Attributes:
        links: Codes of each item, nearest first; -1 where the item lacks the modality. Shape
            ``[I, k]``, int64.
        centroids: Centre of each code, in the reduced space. Shape ``[C, width]``, floating.
    """

    links: NDArray[np.int64]
    centroids: Matrix


def load_or_build_codes(
    values: Matrix, present: NDArray[np.bool_], recipe: CodeRecipe, *, folder: Path | None = None
) -> ItemCodes:
    """The codes of a modality, from the cache if they have been built before.

    A cache that cannot be read or written is reported and otherwise ignored.

    Args:
        values: Features, one row an item. Shape ``[I, F]``, floating, finite.
        present: ``False`` for items without features, the padding item among them. Shape ``[I]``.
        recipe: How to build the codes.
        folder: Where the cache is; None for the user's cache directory.

    Returns:
        As :func:`build_codes`.

    Raises:
        ValueError: If the two shapes differ.
    """
    name = f"{fingerprint(values, present, recipe)}.npz"
    path = (default_cache_folder() if folder is None else folder) / name
    codes = _read(path)
    if codes is None:
        codes = build_codes(values, present, recipe)
        _write(path, codes)
    return codes


def build_codes(values: Matrix, present: NDArray[np.bool_], recipe: CodeRecipe) -> ItemCodes:
    """Reduce, cluster and link the features of one modality.

    Args:
        values: Features, one row an item. Shape ``[I, F]``, floating, finite.
        present: ``False`` for items without features. Shape ``[I]``.
        recipe: How to build the codes.

    Returns:
        The codes. With no item that has features there is no code, and no link.

    Raises:
        ValueError: If the two shapes differ.

    Differs from the authors' code:
        PCA is the usual default: it takes seconds and is deterministic, their autoencoder
        minutes. Items without features have no link, where theirs have links to code 0. k-means
        names its number of starts, which scikit-learn has changed since.
    """
    if present.shape != values.shape[:1]:
        raise ValueError(
            f"present must have one entry for each row of values {values.shape}, "
            f"got shape {present.shape}"
        )
    rows = values[present]
    n_codes = min(recipe.n_codes, len(np.unique(rows, axis=0)))
    links = np.full((len(values), min(recipe.n_links, n_codes)), -1, dtype=np.int64)
    if n_codes == 0:
        return ItemCodes(links=links, centroids=np.zeros((0, recipe.hidden_size), np.float32))
    _LOGGER.info("clustering %d items into %d codes", len(rows), n_codes)
    reduced = _reduce(rows, recipe)
    kmeans = MiniBatchKMeans(
        n_clusters=n_codes,
        init_size=max(512, 3 * n_codes),
        batch_size=1024,
        n_init=3,
        random_state=recipe.seed,
    ).fit(reduced)
    links[present] = nearest_centroids(reduced, kmeans.cluster_centers_, links.shape[1])
    return ItemCodes(links=links, centroids=kmeans.cluster_centers_)


def nearest_centroids(rows: Matrix, centroids: Matrix, n_links: int) -> NDArray[np.int64]:
    """The centroids nearest to each row by Euclidean distance, nearest first.

    Args:
        rows: Shape ``[N, width]``.
        centroids: Shape ``[C, width]``.
        n_links: k, at most C.

    Returns:
        Shape ``[N, k]``, int64. Of equally near centroids the first is taken.
    """
    # About the centroids' own mean and in float64: far from zero the differences of the squares
    # would be lost in their size.
    centre = centroids.mean(axis=0, dtype=np.float64)
    shifted = centroids - centre
    norms = (shifted**2).sum(axis=1)
    links = [
        np.argsort(norms - 2 * (chunk - centre) @ shifted.T, axis=1, kind="stable")[:, :n_links]
        for chunk in np.split(rows, range(_DISTANCE_ROWS, len(rows), _DISTANCE_ROWS))
    ]
    return np.concatenate(links).astype(np.int64)


def initial_embeddings(centroids: Matrix, hidden_size: int) -> NDArray[np.float32] | None:
    r"""First embeddings of the codes: the centroids, rescaled to ±1/√``hidden_size``.

    The rescaling :math:`(c - \min c)\, 2s / (\max c - \min c) - s` takes its extremes over the
    whole matrix, so the codes keep their shape relative to each other.

    Args:
        centroids: Shape ``[C, width]``.
        hidden_size: D.

    Returns:
        Shape ``[C, D]``, float32; None where the centroids have another width than D, or nothing
        to tell them apart, and cannot serve.
    """
    if centroids.shape[1] != hidden_size or centroids.size == 0 or np.ptp(centroids) == 0:
        return None
    bound = hidden_size**-0.5
    unit = (centroids - centroids.min()) / np.ptp(centroids)
    return (unit * 2 * bound - bound).astype(np.float32)


def fingerprint(values: Matrix, present: NDArray[np.bool_], recipe: CodeRecipe) -> str:
    """A name for everything the codes depend on: features, recipe, and the libraries' versions."""
    parts: dict[str, Any] = dataclasses.asdict(recipe)
    parts |= {"cache": _CACHE_VERSION, "shape": values.shape, "dtype": values.dtype.str}
    parts |= {"sklearn": sklearn.__version__, "numpy": np.__version__}
    if recipe.reduction == "ae":
        parts["torch"] = torch.__version__
    digest = hashlib.blake2b(repr(sorted(parts.items())).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    digest.update(np.ascontiguousarray(present).data)
    return digest.hexdigest()


def default_cache_folder() -> Path:
    """The codes' folder in the user's cache directory, where ``XDG_CACHE_HOME`` says."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "recbole_hm4sr" / "codes"


def _reduce(rows: Matrix, recipe: CodeRecipe) -> Matrix:
    """Reduce the rows to ``hidden_size`` columns, or as many as PCA can give."""
    if recipe.reduction == "none":
        return rows
    if recipe.reduction == "ae":
        return encode_with_autoencoder(rows, hidden_size=recipe.hidden_size, seed=recipe.seed)
    width = min(recipe.hidden_size, *rows.shape)
    return PCA(n_components=width, random_state=recipe.seed).fit_transform(rows)


def _read(path: Path) -> ItemCodes | None:
    """Codes from a file, None if there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ItemCodes(links=arrays["links"], centroids=arrays["centroids"])
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        _LOGGER.warning("cannot read the codes in %s, building them anew: %s", path, error)
        return None


def _write(path: Path, codes: ItemCodes) -> None:
    """Keep codes for the next run; a run that cannot keep them goes on without."""
    try:
        write_npz(path, {"links": codes.links, "centroids": codes.centroids})
    except DataError as error:
        _LOGGER.warning("the codes are not kept: %s", error)
