"""Links and initial embeddings of the codes against the authors' pre-processing."""

import numpy as np
import pytest
from parity.mmsr_reference import recorded

from recbole_hm4sr.model.mmsr.codes import initial_embeddings, nearest_centroids

pytestmark = pytest.mark.parity


def test_links_equal_the_authors():
    arrays = recorded("precompute")
    links = nearest_centroids(arrays["features"], arrays["centroids"], 3)
    np.testing.assert_array_equal(links, arrays["link_top3"])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("modality", ["A", "B"])
def test_initial_embeddings_equal_the_authors(k, modality):
    arrays = recorded(f"model_k{k}")
    rows = initial_embeddings(arrays[f"centroids_{modality}"], 16)
    # The authors rescale in float32, we in float64.
    np.testing.assert_allclose(rows, arrays[f"init_code_rows_{modality}"], rtol=0, atol=1e-7)
