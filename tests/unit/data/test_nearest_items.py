"""The nearest items of each item equal a loop over all pairs, ties included."""

import numpy as np
import pytest
import scipy.sparse

from recbole_hm4sr.data.neighbours import nearest_items


def features():
    """Few words, so that many cosines are equal; twins, items without words, padding."""
    random = np.random.default_rng(5)
    rows = random.integers(0, 2, size=(60, 6)) * random.integers(0, 2, size=(60, 6))
    rows = rows.astype(np.float64)
    rows[0] = 0
    rows[20:29] = rows[19] = [1, 0, 2, 0, 0, 1]  # more twins than neighbours
    rows[40:45, 0] = -1
    return rows


def expected(rows, k):
    """Item by item: sort all others by their rounded cosine, then by their number."""
    lengths = [np.sqrt(sum(x * x for x in row)) for row in rows]
    near, cosines = np.zeros((len(rows), k), dtype=int), np.zeros((len(rows), k))
    for i in range(1, len(rows)):
        found = []
        for j in range(1, len(rows)):
            if i != j and lengths[i] and lengths[j]:
                cosine = sum(rows[i] * rows[j]) / lengths[i] / lengths[j]
                found.append((-round(cosine, 9), j))
        best = [pair for pair in sorted(found)[:k] if pair[0] < 0]
        near[i, : len(best)] = [j for _, j in best]
        cosines[i, : len(best)] = [-value for value, _ in best]
    return near, cosines


@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("batch", [1, 9, 64])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix])
def test_the_nearest_equal_a_loop(k, batch, form):
    near, cosines = nearest_items(form(features()), n_neighbours=k, batch=batch)
    wanted = expected(features(), k)
    np.testing.assert_array_equal(near, wanted[0])
    np.testing.assert_array_equal(cosines, wanted[1])
    assert (near.dtype, cosines.dtype) == (np.int32, np.float64)


def test_rounding_decides_which_are_equal():
    # The cosines with item 1 differ by less than 1e-9: the lower number is first, though less.
    rows = np.array([[0, 0], [1, 0], [1, 1 + 1e-11], [1, 1], [1, 1 - 1e-11]])
    near, cosines = nearest_items(rows, n_neighbours=2)
    np.testing.assert_array_equal(near[1], [2, 3])
    np.testing.assert_array_equal(cosines[1], np.round([np.sqrt(0.5)] * 2, 9))
