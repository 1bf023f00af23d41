"""What the authors' logged metrics are in RecBole's terms: their NDCG is not the usual one."""

import math

import numpy as np
import pytest
from parity.mmsr_reference import recorded

from recbole_hm4sr.base import compat

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("k", "factor"), [(5, 2.948459), (20, 7.040268)])
def test_authors_ndcg_is_recboles_divided_by_the_gain_of_k_hits(k, factor):
    compat.restore_numpy_aliases()
    from recbole.evaluator.metrics import MRR, NDCG, Hit

    arrays = recorded("metrics")
    ranking = np.argsort(-arrays["scores"], axis=1, kind="stable")[:, :k]
    hits = ranking == arrays["target_1based"][:, None] - 1
    one_target = np.ones(len(hits), dtype=np.int64)
    config = {"topk": [k], "metric_decimal_place": 6}

    assert factor == pytest.approx(sum(1 / math.log2(i + 1) for i in range(1, k + 1)), abs=1e-6)
    ndcg = NDCG(config).metric_info(hits, one_target)[:, -1]
    np.testing.assert_allclose(ndcg, arrays[f"ndcg{k}_official"] * factor, atol=1e-6)
    np.testing.assert_allclose(Hit(config).metric_info(hits)[:, -1], arrays[f"hit{k}"])
    np.testing.assert_allclose(MRR(config).metric_info(hits)[:, -1], arrays[f"mrr{k}"], atol=1e-6)
