"""Numbers of item features and categories, and whether features carry signal at all."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_hm4sr.check.facts import Log, share

Array = np.ndarray[Any, Any]
NEAR = 0.999
SAMPLED_ROWS, SAMPLED_QUERIES = 20_000, 2_000
SAMPLED_PAIRS = 20_000
_N_RESAMPLES = 1_000
_BLOCK = 500
_SEED = 2020
# A norm this many robust standard deviations, and this share, off the median is an outlier.
_OUTLIER_DEVIATIONS, _OUTLIER_SHARE = 6.0, 0.1
_N_NORM_BINS = 30


@dataclass(frozen=True)
class Signal:
    """Whether neighbours in histories are alike.

    Attributes:
        n_pairs: Pairs that were compared; 0 if there are none.
        n_possible: Pairs of different neighbours with features.
        consecutive: Mean cosine of neighbours.
        shuffled: Mean cosine when the second of each pair is another pair's.
        low: Lower end of the 95 % bootstrap interval of the difference.
        high: Upper end.
    """

    n_pairs: int
    n_possible: int
    consecutive: float
    shuffled: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Neighbours less shuffled."""
        return self.consecutive - self.shuffled


@dataclass(frozen=True)
class FeatureFacts:
    """One modality's matrix.

    Attributes:
        n_items: Items of the catalogue.
        n_covered: Items with a row.
        covered_interactions: Share of the interactions whose item has a row.
        width: Columns.
        n_dead: Columns that are zero for all items.
        n_constant: Columns with one other value for all items.
        n_zero_rows: Rows of zeros.
        n_same_rows: Rows that equal an earlier row, rounded to 1e-5 of the median norm.
        n_near: Of the sampled rows, those with another row at a cosine above 0.999; rows counted in
            ``n_same_rows`` and rows of zeros left out.
        n_queries: Sampled rows.
        n_candidates: Rows that they were compared with.
        norms: Smallest, median and largest norm of a row that is not zero.
        n_outliers: Rows with a norm far off the median.
        norm_bins: Begin of each of equal stretches of norms and the rows in it.
    """

    n_items: int
    n_covered: int
    covered_interactions: float
    width: int
    n_dead: int
    n_constant: int
    n_zero_rows: int
    n_same_rows: int
    n_near: int
    n_queries: int
    n_candidates: int
    norms: tuple[float, float, float]
    n_outliers: int
    norm_bins: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class CategoryFacts:
    """The categories of the catalogue.

    Attributes:
        n_items: Items.
        n_covered: Items with at least one category.
        n_categories: Categories.
        mean_categories: Categories of a covered item, mean.
        n_single: Categories of one item only.
        everywhere: Categories of at least 95 % of the covered items.
        largest: The ten largest and their number of items.
    """

    n_items: int
    n_covered: int
    n_categories: int
    mean_categories: float
    n_single: int
    everywhere: tuple[str, ...]
    largest: tuple[tuple[str, int], ...]


def feature_facts(values: Array, present: Array, counts: Array) -> FeatureFacts:
    """Coverage, dead columns, near-duplicates and norms of one modality.

    Args:
        values: Features by internal item id, row 0 padding. Shape ``[I, F]``, float32.
        present: Whether an item has a row. Shape ``[I]``, bool.
        counts: Interactions of each item. Shape ``[I]``.
    """
    where = present[:, None]
    lowest = values.min(axis=0, where=where, initial=np.inf)
    highest = values.max(axis=0, where=where, initial=-np.inf)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    filled = np.flatnonzero(present & (norms > 0))
    lengths = norms[filled]
    middle = float(np.median(lengths)) if len(lengths) else 0.0
    distance = np.abs(lengths - middle)
    spread = 1.4826 * float(np.median(distance)) if len(lengths) else 0.0
    far = (distance > _OUTLIER_DEVIATIONS * spread) & (distance > _OUTLIER_SHARE * middle)
    distinct = _first_of_equal(values, filled, middle)
    n_near, n_queries, n_candidates = _near_duplicates(values, distinct)
    return FeatureFacts(
        n_items=len(present) - 1,
        n_covered=int(present.sum()),
        covered_interactions=share(int(counts[present].sum()), int(counts.sum())),
        width=values.shape[1],
        n_dead=int(((lowest == 0) & (highest == 0)).sum()),
        n_constant=int(((lowest == highest) & (lowest != 0)).sum()),
        n_zero_rows=int(present.sum()) - len(filled),
        n_same_rows=len(filled) - len(distinct),
        n_near=n_near,
        n_queries=n_queries,
        n_candidates=n_candidates,
        norms=(float(lengths.min()), middle, float(lengths.max())) if len(lengths) else (0, 0, 0),
        n_outliers=int(far.sum()),
        norm_bins=_histogram(lengths),
    )


def _first_of_equal(values: Array, rows: Array, scale: float) -> Array:
    """The rows that equal no earlier one, by a hash of each rounded row: memory is bounded."""
    seen: set[bytes] = set()
    first = []
    for begin in range(0, len(rows), _BLOCK):
        part = rows[begin : begin + _BLOCK]
        # Adding zero turns -0.0 into 0.0, which has other bytes.
        block = np.round(values[part] / scale, 5) + 0.0
        for row, line in zip(part, block, strict=True):
            digest = hashlib.blake2b(line.tobytes(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                first.append(row)
    return np.array(first, dtype=np.int64)


def _near_duplicates(values: Array, rows: Array) -> tuple[int, int, int]:
    """How many sampled rows have a near neighbour, of how many, among how many."""
    chosen = np.random.default_rng(_SEED).permutation(rows)[:SAMPLED_ROWS]
    candidates = _unit(values[chosen])
    n_queries = min(SAMPLED_QUERIES, len(chosen))
    n_near = 0
    for begin in range(0, n_queries, _BLOCK):
        end = min(begin + _BLOCK, n_queries)
        cosines = candidates[begin:end] @ candidates.T
        cosines[np.arange(end - begin), np.arange(begin, end)] = -1
        n_near += int((cosines > NEAR).any(axis=1).sum())
    return n_near, n_queries, len(chosen)


def feature_signal(values: Array, present: Array, log: Log, kept: Array) -> Signal:
    """Compare neighbours in histories with shuffled pairs.

    Neighbours of the same item say nothing of features and are left out, and so are shuffled pairs
    that happen to be of one item.

    Args:
        values: Features by item. Shape ``[I, F]``.
        present: Whether an item has a row. Shape ``[I]``, bool.
        log: Interactions.
        kept: Whether an interaction may be used: those of the training part. Shape ``[N]``, bool.
    """
    known = present & (np.einsum("ij,ij->i", values, values) > 0)
    usable = kept & known[log.items]
    pairs = np.flatnonzero(
        (np.diff(log.users) == 0) & (np.diff(log.items) != 0) & usable[1:] & usable[:-1]
    )
    random = np.random.default_rng(_SEED)
    chosen = pairs
    if len(pairs) > SAMPLED_PAIRS:
        chosen = random.choice(pairs, SAMPLED_PAIRS, replace=False)
    first, second = log.items[chosen], log.items[chosen + 1]
    other = random.permutation(second)
    both = first != other
    first, second, other = first[both], second[both], other[both]
    if not len(first):
        return Signal(0, len(pairs), 0.0, 0.0, 0.0, 0.0)
    near, far = _cosines(values, first, second), _cosines(values, first, other)
    differences = near - far
    means = [
        differences[random.integers(len(differences), size=len(differences))].mean()
        for _ in range(_N_RESAMPLES)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return Signal(
        len(first), len(pairs), float(near.mean()), float(far.mean()), float(low), float(high)
    )


def category_facts(flags: Array, names: tuple[str, ...]) -> CategoryFacts:
    """Coverage and sizes of categories.

    Args:
        flags: 0/1 by item and category, row 0 padding. Shape ``[I, C]``, uint8.
        names: Names of the C categories.
    """
    covered = int(flags.any(axis=1).sum())
    sizes = flags.sum(axis=0, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    return CategoryFacts(
        n_items=len(flags) - 1,
        n_covered=covered,
        n_categories=len(names),
        mean_categories=share(int(sizes.sum()), covered),
        n_single=int((sizes == 1).sum()),
        everywhere=tuple(names[place] for place in order if sizes[place] >= 0.95 * covered > 0),
        largest=tuple((names[place], int(sizes[place])) for place in order[:10]),
    )


def _cosines(values: Array, first: Array, second: Array) -> Array:
    parts = [
        np.einsum("ij,ij->i", _unit(values[one]), _unit(values[two]), dtype=np.float64)
        for one, two in (
            (first[begin : begin + _BLOCK], second[begin : begin + _BLOCK])
            for begin in range(0, len(first), _BLOCK)
        )
    ]
    return np.concatenate(parts)


def _unit(rows: Array) -> Array:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)


def _histogram(lengths: Array) -> tuple[tuple[float, int], ...]:
    if not len(lengths):
        return ()
    low, high = float(lengths.min()), float(lengths.max())
    if high - low < 1e-6 * high:  # rows scaled to one length: a width of nothing has no bins
        low, high = 0.9 * low, 1.1 * high
    counts, edges = np.histogram(lengths, bins=_N_NORM_BINS, range=(low, high))
    return tuple(zip(edges[:-1].tolist(), counts.tolist(), strict=True))
