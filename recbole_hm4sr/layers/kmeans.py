"""Plain k-means in a fixed number of rounds, a few rows at a time."""

import torch
from torch import Tensor

_DISTANCES_AT_A_TIME = 2**22


@torch.no_grad()
def kmeans(vectors: Tensor, start: Tensor, *, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """Clusters of vectors by their Euclidean distance.

    Args:
        vectors: Shape ``[P, D]``.
        start: Rows that the centres begin at, each once. Shape ``[C]``, int64.
        rounds: How often all vectors are assigned and the centres moved.

    Returns:
        Centres, ``[C, D]``, and the nearest of each vector, ``[P]``, int64; of equally near ones
        the first. A centre that no vector is nearest to stays where it is.
    """
    centres = vectors.index_select(0, start)
    for _ in range(rounds):
        nearest = nearest_centres(vectors, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        counts = torch.bincount(nearest, minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres, nearest_centres(vectors, centres)


def nearest_centres(vectors: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each vector by Euclidean distance; of equally near ones the first.

    Args:
        vectors: Shape ``[P, D]``.
        centres: Shape ``[C, D]``.

    Returns:
        Shape ``[P]``, int64.
    """
    half = centres.square().sum(dim=1) / 2
    step = max(1, _DISTANCES_AT_A_TIME // len(centres))
    # Half the squared distance, less what is the same for all centres.
    return torch.cat([(half - part @ centres.mT).argmin(dim=1) for part in vectors.split(step)])
